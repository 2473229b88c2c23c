//! The numbered buffer of a voice session: one counter for text and binary, and the messages a resume replays.
//!
//! <https://docs.discord.com/developers/topics/voice-connections#buffered-resume>

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::connections::SocketAction;

/// One message that carries a sequence number at gateway version 8 and above.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NumberedMessage {
    Json { op: u8, d: Value },
    Binary { op: u8, payload: Bytes },
}

impl NumberedMessage {
    /// Renders the message as it goes on the wire; without a number for gateway versions below 8.
    pub(super) fn encode(&self, sequence: Option<u16>) -> SocketAction {
        match (self, sequence) {
            (Self::Json { op, d }, Some(seq)) => {
                SocketAction::Text(json!({"op": op, "d": d, "seq": seq}).to_string())
            }
            (Self::Json { op, d }, None) => SocketAction::Text(json!({"op": op, "d": d}).to_string()),
            (Self::Binary { op, payload }, sequence) => {
                let mut frame = Vec::with_capacity(payload.len() + 3);
                if let Some(sequence) = sequence {
                    frame.extend_from_slice(&sequence.to_be_bytes());
                }
                frame.push(*op);
                frame.extend_from_slice(payload);
                SocketAction::Binary(frame)
            }
        }
    }
}

/// Why an acknowledged number cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckError {
    /// The number was never given to a message.
    Unsent,
    /// An earlier acknowledgement was higher.
    Backwards,
}

/// Numbers messages, holds them until they are acknowledged, and replays what a resume missed.
#[derive(Debug)]
pub(super) struct NumberedBuffer {
    next: u16,
    count: u64,
    acknowledged: Option<u16>,
    capacity: usize,
    held: VecDeque<HeldMessage>,
}

#[derive(Debug)]
struct HeldMessage {
    sequence: u16,
    /// When it was sent last.
    sent: Instant,
    message: NumberedMessage,
}

impl NumberedBuffer {
    /// Starts with `first` as the number of the first message and holds at most `capacity` of them.
    pub(super) fn new(first: u16, capacity: usize) -> Self {
        Self { next: first, count: 0, acknowledged: None, capacity, held: VecDeque::new() }
    }

    /// Gives the message the next number and holds it; the oldest falls out when the buffer is full.
    pub(super) fn push(&mut self, message: NumberedMessage, now: Instant) -> u16 {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.count += 1;
        self.held.push_back(HeldMessage { sequence, sent: now, message });
        if self.held.len() > self.capacity {
            self.held.pop_front();
        }
        sequence
    }

    /// The number of the newest message.
    pub(super) fn last(&self) -> Option<u16> {
        (self.count > 0).then(|| self.next.wrapping_sub(1))
    }

    /// Takes note of what the client says it has, and drops everything up to there.
    pub(super) fn acknowledge(&mut self, sequence: Option<u16>) -> Result<(), AckError> {
        let Some(sequence) = sequence else {
            return if self.acknowledged.is_some() { Err(AckError::Backwards) } else { Ok(()) };
        };
        let Some(last) = self.last() else { return Err(AckError::Unsent) };
        let behind = last.wrapping_sub(sequence);
        if u64::from(behind) >= self.count {
            return Err(AckError::Unsent);
        }
        if self.acknowledged.is_some_and(|earlier| behind > last.wrapping_sub(earlier)) {
            let ahead = sequence.wrapping_sub(last) < u16::MAX / 2;
            return Err(if ahead { AckError::Unsent } else { AckError::Backwards });
        }
        self.acknowledged = Some(sequence);
        while self.held.front().is_some_and(|held| last.wrapping_sub(held.sequence) >= behind) {
            self.held.pop_front();
        }
        Ok(())
    }

    /// Everything after `sequence`, oldest first; `None` when some of it is no longer held.
    pub(super) fn replay_after(&self, sequence: Option<u16>) -> Option<Vec<(u16, NumberedMessage)>> {
        let missing = match (sequence, self.last()) {
            (None, _) => usize::try_from(self.count).ok()?,
            (Some(_), None) => return None,
            (Some(sequence), Some(last)) => {
                let behind = last.wrapping_sub(sequence);
                if u64::from(behind) >= self.count {
                    return None;
                }
                usize::from(behind)
            }
        };
        let skip = self.held.len().checked_sub(missing)?;
        Some(self.held.iter().skip(skip).map(|held| (held.sequence, held.message.clone())).collect())
    }

    /// The first message that was sent so long ago that it should have been acknowledged.
    pub(super) fn late(&self, now: Instant) -> Option<u16> {
        self.held.front().filter(|held| held.sent + ACK_TIMEOUT < now).map(|held| held.sequence)
    }

    /// Takes note that what is held was sent again.
    pub(super) fn resent(&mut self, now: Instant) {
        self.held.iter_mut().for_each(|held| held.sent = now);
    }
}

/// How long after a message its number may still be missing from heartbeats.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(op: u8) -> NumberedMessage {
        NumberedMessage::Json { op, d: Value::Null }
    }

    fn filled(first: u16, messages: u8) -> NumberedBuffer {
        let mut buffer = NumberedBuffer::new(first, 8);
        for op in 0..messages {
            buffer.push(message(op), Instant::now());
        }
        buffer
    }

    fn replayed(buffer: &NumberedBuffer, after: Option<u16>) -> Option<Vec<u16>> {
        buffer.replay_after(after).map(|missed| missed.into_iter().map(|(sequence, _)| sequence).collect())
    }

    #[test]
    fn text_carries_its_number_beside_d_and_binary_in_front() {
        assert_eq!(
            NumberedMessage::Json { op: 13, d: json!({"user_id": "901"}) }.encode(Some(16)),
            SocketAction::Text(r#"{"d":{"user_id":"901"},"op":13,"seq":16}"#.to_owned())
        );
        let proposals = NumberedMessage::Binary { op: 27, payload: Bytes::from_static(&[1, 0x21]) };
        assert_eq!(proposals.encode(Some(0x010c)), SocketAction::Binary(vec![0x01, 0x0c, 0x1b, 1, 0x21]));
        assert_eq!(proposals.encode(None), SocketAction::Binary(vec![0x1b, 1, 0x21]));
    }

    #[test]
    fn a_replay_crosses_the_wrap_in_order() {
        let buffer = filled(65_534, 4);
        assert_eq!(replayed(&buffer, Some(65_534)), Some(vec![65_535, 0, 1]));
        assert_eq!(replayed(&buffer, Some(1)), Some(vec![]));
    }

    #[test]
    fn a_client_that_got_nothing_is_replayed_everything() {
        assert_eq!(replayed(&filled(0, 3), None), Some(vec![0, 1, 2]));
    }

    #[test]
    fn what_was_acknowledged_cannot_be_replayed() {
        let mut buffer = filled(65_534, 4);
        buffer.acknowledge(Some(0)).expect("0 was sent");
        assert_eq!(replayed(&buffer, Some(0)), Some(vec![1]));
        assert_eq!(replayed(&buffer, Some(65_535)), None);
        assert_eq!(replayed(&buffer, None), None);
    }

    #[test]
    fn what_fell_out_of_a_full_buffer_cannot_be_replayed() {
        let buffer = filled(0, 10);
        assert_eq!(replayed(&buffer, Some(0)), None);
        assert_eq!(replayed(&buffer, Some(1)), Some((2..10).collect()));
    }

    #[test]
    fn acknowledging_what_was_not_sent_or_going_back_is_an_error() {
        let mut buffer = filled(0, 4);
        assert_eq!(buffer.acknowledge(Some(4)), Err(AckError::Unsent));
        assert_eq!(buffer.acknowledge(None), Ok(()));
        assert_eq!(buffer.acknowledge(Some(2)), Ok(()));
        assert_eq!(buffer.acknowledge(Some(1)), Err(AckError::Backwards));
        assert_eq!(buffer.acknowledge(None), Err(AckError::Backwards));
        assert_eq!(buffer.acknowledge(Some(9)), Err(AckError::Unsent));
        assert_eq!(NumberedBuffer::new(0, 8).acknowledge(Some(0)), Err(AckError::Unsent));
    }

    #[test]
    fn what_is_not_acknowledged_a_second_after_it_was_sent_is_late() {
        let now = Instant::now();
        let mut buffer = NumberedBuffer::new(65_535, 8);
        buffer.push(message(0), now);
        buffer.push(message(1), now + ACK_TIMEOUT);
        assert_eq!(buffer.late(now + ACK_TIMEOUT), None);
        let later = now + Duration::from_millis(1_001);
        assert_eq!(buffer.late(later), Some(65_535));
        buffer.acknowledge(Some(65_535)).expect("it was sent");
        assert_eq!(buffer.late(later), None);
        assert_eq!(buffer.late(later + ACK_TIMEOUT), Some(0));
        buffer.resent(later);
        assert_eq!(buffer.late(later + ACK_TIMEOUT), None);
    }
}
