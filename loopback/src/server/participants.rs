//! The simulated members' side of the encryption.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::buffer::NumberedMessage;
use crate::dave::Participant;
use crate::opcodes::voice as op;

/// One simulated member's side; what it hears and what it sends share it.
pub(crate) type SharedParticipant = Arc<Mutex<Participant>>;

/// The owner of the participants, by SSRC.
#[derive(Default)]
pub(super) struct Participants {
    by_ssrc: BTreeMap<u32, SharedParticipant>,
}

impl Participants {
    pub(super) fn insert(&mut self, ssrc: u32, participant: SharedParticipant) {
        self.by_ssrc.insert(ssrc, participant);
    }

    /// Forgets a participant; says whether there was one.
    pub(super) fn remove(&mut self, ssrc: u32) -> bool {
        self.by_ssrc.remove(&ssrc).is_some()
    }

    pub(super) fn ssrcs(&self) -> Vec<u32> {
        self.by_ssrc.keys().copied().collect()
    }

    /// Shows ops 11 and 13 to a participant.
    pub(super) fn inform(&self, ssrc: u32, message: &NumberedMessage) {
        let NumberedMessage::Json { op, d } = message else { return };
        let id = |value: &Value| value.as_str().and_then(|digits| digits.parse().ok());
        match *op {
            op::CLIENTS_CONNECT => {
                let users: Vec<u64> = d["user_ids"].as_array().into_iter().flatten().filter_map(id).collect();
                self.with(ssrc, |member| member.clients_connect(&users));
            }
            op::CLIENT_DISCONNECT => {
                let user = id(&d["user_id"]).unwrap_or_default();
                self.with(ssrc, |member| member.client_disconnect(user));
            }
            _ => {}
        }
    }

    /// Does something with a participant, if there is one.
    pub(super) fn with<R>(&self, ssrc: u32, act: impl FnOnce(&mut Participant) -> R) -> Option<R> {
        let participant = self.by_ssrc.get(&ssrc)?;
        Some(act(&mut participant.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
