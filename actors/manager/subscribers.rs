//! Subscribers: who is told what happens in the calls.

use std::time::Duration;

use actix::Recipient;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{actors::event::CallEvent, id::GuildId};

/// All subscribers. Events queue up for each; of one that is a thousand behind, the newest are dropped,
/// but never the end of a call.
#[derive(Default)]
pub(super) struct Subscribers(Vec<Subscriber>);

struct Subscriber {
    guild: Option<GuildId>,
    queue: mpsc::Sender<CallEvent>,
    /// The actor behind the queue, if it is one, and the task that brings it the events.
    actor: Option<(Recipient<CallEvent>, JoinHandle<()>)>,
}

impl Subscribers {
    /// Tells this actor from now on, once for each event however often it asks.
    pub(super) fn actor(&mut self, guild: Option<GuildId>, to: Recipient<CallEvent>) {
        let known = |known: &Subscriber| {
            known.guild == guild && known.actor.as_ref().is_some_and(|(actor, _)| *actor == to)
        };
        if self.0.iter().any(known) {
            return;
        }
        let (queue, mut events) = mpsc::channel::<CallEvent>(MAX_UNREAD);
        let actor = to.clone();
        let bringing = actix_rt::spawn(async move {
            while let Some(event) = events.recv().await {
                if actor.send(event).await.is_err() {
                    return;
                }
            }
        });
        self.0.push(Subscriber { guild, queue, actor: Some((to, bringing)) });
    }

    /// Tells this channel from now on, for as long as somebody reads it.
    pub(super) fn channel(&mut self, guild: Option<GuildId>, queue: mpsc::Sender<CallEvent>) {
        self.0.push(Subscriber { guild, queue, actor: None });
    }

    /// Waits until all that was told has been read, or a second.
    pub(super) async fn read(self) {
        let bringing: Vec<_> =
            self.0.into_iter().filter_map(|subscriber| Some(subscriber.actor?.1)).collect();
        let all = async {
            for bringing in bringing {
                // One that was cancelled has nothing to bring any more.
                let _ = bringing.await;
            }
        };
        let _ = actix::clock::timeout(READ_TIMEOUT, all).await;
    }

    pub(super) fn publish(&mut self, event: &CallEvent) {
        self.0.retain(|Subscriber { guild, queue, .. }| {
            if guild.is_some_and(|guild| guild != event.guild) {
                return !queue.is_closed();
            }
            match queue.try_send(event.clone()) {
                Ok(()) => true,
                // The end of a call is never lost: it waits until there is room.
                Err(mpsc::error::TrySendError::Full(event)) if event.is_end() => {
                    let queue = queue.clone();
                    actix_rt::spawn(async move { queue.send(event).await });
                    true
                }
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

/// How long a subscriber may take over the last events.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Events that may wait for a subscriber.
const MAX_UNREAD: usize = 1_000;
