//! Subscribers: who is told what happens in the calls.

use std::time::Duration;

use actix::Recipient;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    actors::{
        delivery::{Delivery, Offered, offer},
        event::CallEvent,
    },
    id::GuildId,
};

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
    Actor(Delivery<CallEvent>),
}

impl Subscribers {
    /// Tells this actor from now on, once for each event however often it asks.
    pub(super) fn actor(&mut self, guild: Option<GuildId>, to: Recipient<CallEvent>) {
        let known = |known: &Subscriber| {
            known.guild == guild && matches!(&known.to, Destination::Actor(known) if known.is_to(&to))
        };
        if !self.0.iter().any(known) {
            self.0.push(Subscriber { guild, to: Destination::Actor(Delivery::new(to)) });
        }
    }

    /// Tells this channel from now on, for as long as somebody reads it.
    pub(super) fn channel(&mut self, guild: Option<GuildId>, queue: mpsc::Sender<CallEvent>) {
        self.0.push(Subscriber { guild, to: Destination::Channel(queue) });
    }

    /// Waits until actors have read all that was told, or a second.
    pub(super) fn read(&mut self) -> impl Future<Output = ()> + use<> {
        let tasks: Vec<_> = self.0.iter_mut().filter_map(|subscriber| subscriber.to.stop()).collect();
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
            let offered = offer(queue, event.clone());
            if offered == Offered::Dropped {
                tracing::warn!(guild = event.guild.0, "a subscriber does not keep up: an event was dropped");
            }
            offered != Offered::Closed
        });
    }
}

impl Destination {
    /// Where events go; none if nobody reads them any more.
    fn queue(&mut self) -> Option<&mpsc::Sender<CallEvent>> {
        match self {
            Self::Channel(queue) => Some(&*queue).filter(|queue| !queue.is_closed()),
            Self::Actor(delivery) => delivery.queue(),
        }
    }

    /// Lets the task end once it has brought what it has.
    fn stop(&mut self) -> Option<JoinHandle<()>> {
        match self {
            Self::Channel(_) => None,
            Self::Actor(delivery) => delivery.stop(),
        }
    }
}

/// How long a subscriber may take over the last events.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
