//! Subscribers: who is told what happens in the calls.

use actix::Recipient;
use tokio::sync::mpsc;

use crate::{actors::CallEvent, id::GuildId};

/// All subscribers. Events queue up for each; of one that is a thousand behind, the newest are dropped.
#[derive(Default)]
pub(super) struct Subscribers(Vec<Subscriber>);

struct Subscriber {
    guild: Option<GuildId>,
    queue: mpsc::Sender<CallEvent>,
    /// The actor behind the queue, if it is one.
    actor: Option<Recipient<CallEvent>>,
}

impl Subscribers {
    /// Tells this actor from now on, once for each event however often it asks.
    pub(super) fn actor(&mut self, guild: Option<GuildId>, to: Recipient<CallEvent>) {
        let known = |known: &Subscriber| known.guild == guild && known.actor.as_ref() == Some(&to);
        if self.0.iter().any(known) {
            return;
        }
        let (queue, mut events) = mpsc::channel::<CallEvent>(MOST_UNREAD);
        let actor = to.clone();
        actix_rt::spawn(async move {
            while let Some(event) = events.recv().await {
                if actor.send(event).await.is_err() {
                    return;
                }
            }
        });
        self.0.push(Subscriber { guild, queue, actor: Some(to) });
    }

    /// Tells this channel from now on, for as long as somebody reads it.
    pub(super) fn channel(&mut self, guild: Option<GuildId>, queue: mpsc::Sender<CallEvent>) {
        self.0.push(Subscriber { guild, queue, actor: None });
    }

    pub(super) fn publish(&mut self, event: &CallEvent) {
        self.0.retain(|Subscriber { guild, queue, .. }| {
            if guild.is_some_and(|guild| guild != event.guild) {
                return !queue.is_closed();
            }
            match queue.try_send(event.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(event)) => {
                    tracing::warn!(
                        guild = event.guild.0,
                        "a subscriber does not keep up: an event was dropped"
                    );
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
    }
}

/// Events that may wait for a subscriber.
const MOST_UNREAD: usize = 1_000;
