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
    to: Destination,
}

enum Destination {
    Channel(mpsc::Sender<CallEvent>),
    Actor {
        to: Recipient<CallEvent>,
        /// Started with the first event, and again after a shutdown.
        bringing: Option<Bringing>,
    },
}

/// The events for an actor, and the task that brings them to it.
struct Bringing {
    queue: mpsc::Sender<CallEvent>,
    task: JoinHandle<()>,
}

impl Subscribers {
    /// Tells this actor from now on, once for each event however often it asks.
    pub(super) fn actor(&mut self, guild: Option<GuildId>, to: Recipient<CallEvent>) {
        let known = |known: &Subscriber| {
            known.guild == guild && matches!(&known.to, Destination::Actor { to: known, .. } if *known == to)
        };
        if !self.0.iter().any(known) {
            self.0.push(Subscriber { guild, to: Destination::Actor { to, bringing: None } });
        }
    }

    /// Tells this channel from now on, for as long as somebody reads it.
    pub(super) fn channel(&mut self, guild: Option<GuildId>, queue: mpsc::Sender<CallEvent>) {
        self.0.push(Subscriber { guild, to: Destination::Channel(queue) });
    }

    /// Waits until actors have read all that was told, or a second.
    pub(super) fn read(&mut self) -> impl Future<Output = ()> + use<> {
        let tasks: Vec<_> =
            self.0.iter_mut().filter_map(|subscriber| subscriber.to.stop_bringing()).collect();
        let all = async {
            for task in tasks {
                // One that was cancelled has nothing to bring any more.
                let _ = task.await;
            }
        };
        async {
            let _ = actix::clock::timeout(READ_TIMEOUT, all).await;
        }
    }

    pub(super) fn publish(&mut self, event: &CallEvent) {
        self.0.retain_mut(|Subscriber { guild, to }| {
            let Some(queue) = to.queue() else { return false };
            if guild.is_some_and(|guild| guild != event.guild) {
                return true;
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

impl Destination {
    /// Where events go; none if nobody reads them any more.
    fn queue(&mut self) -> Option<&mpsc::Sender<CallEvent>> {
        match self {
            Self::Channel(queue) => Some(&*queue).filter(|queue| !queue.is_closed()),
            Self::Actor { to, .. } if !to.connected() => None,
            Self::Actor { to, bringing } => {
                // The arbiter of the task may have ended.
                if bringing.as_ref().is_some_and(|bringing| bringing.queue.is_closed()) {
                    *bringing = None;
                }
                Some(&bringing.get_or_insert_with(|| Bringing::start(to.clone())).queue)
            }
        }
    }

    /// Lets the task end once it has brought what it has.
    fn stop_bringing(&mut self) -> Option<JoinHandle<()>> {
        match self {
            Self::Channel(_) => None,
            Self::Actor { bringing, .. } => bringing.take().map(|bringing| bringing.task),
        }
    }
}

impl Bringing {
    fn start(to: Recipient<CallEvent>) -> Self {
        let (queue, mut events) = mpsc::channel::<CallEvent>(MAX_UNREAD);
        let task = actix_rt::spawn(async move {
            while let Some(event) = events.recv().await {
                if to.send(event).await.is_err() {
                    return;
                }
            }
        });
        Self { queue, task }
    }
}

/// How long a subscriber may take over the last events.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Events that may wait for a subscriber.
const MAX_UNREAD: usize = 1_000;
