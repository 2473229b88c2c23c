//! Delivery: events for one listener, in a bounded queue, and brought to an actor one after the other.

use actix::{Message, Recipient};
use tokio::{sync::mpsc, task::JoinHandle};

/// What listeners are told.
pub(super) trait Event: Message<Result = ()> + Send + 'static {
    /// Whether nothing follows: such an event is never dropped.
    fn is_final(&self) -> bool;
}

/// The queue of events for an actor. Of one that is a thousand behind, the newest are dropped.
pub(super) struct Delivery<E: Event> {
    to: Recipient<E>,
    /// Started with the first event, and again after it was stopped.
    courier: Option<Courier<E>>,
}

/// The task that brings the events of a queue to an actor.
struct Courier<E> {
    queue: mpsc::Sender<E>,
    task: JoinHandle<()>,
}

impl<E: Event> Delivery<E> {
    pub(super) fn new(to: Recipient<E>) -> Self {
        Self { to, courier: None }
    }

    pub(super) fn is_to(&self, to: &Recipient<E>) -> bool {
        self.to == *to
    }

    /// Where events go; none if the actor is gone.
    pub(super) fn queue(&mut self) -> Option<&mpsc::Sender<E>> {
        if !self.to.connected() {
            return None;
        }
        // The arbiter of the task may have ended.
        if self.courier.as_ref().is_some_and(|courier| courier.queue.is_closed()) {
            self.courier = None;
        }
        Some(&self.courier.get_or_insert_with(|| Courier::start(self.to.clone())).queue)
    }

    /// Lets the task end once it has brought what it has.
    pub(super) fn stop(&mut self) -> Option<JoinHandle<()>> {
        self.courier.take().map(|courier| courier.task)
    }
}

impl<E: Event> Courier<E> {
    fn start(to: Recipient<E>) -> Self {
        let (queue, mut events) = mpsc::channel::<E>(MAX_UNREAD);
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

/// What became of an event that was put into a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    /// There was no room.
    Dropped,
    /// Nobody reads the queue any more.
    Closed,
}

/// Puts an event into a queue without waiting. The last of all waits in a task until there is room.
pub(super) fn offer<E: Event>(queue: &mpsc::Sender<E>, event: E) -> Offered {
    match queue.try_send(event) {
        Ok(()) => Offered::Taken,
        Err(mpsc::error::TrySendError::Full(event)) if event.is_final() => {
            let queue = queue.clone();
            actix_rt::spawn(async move { queue.send(event).await });
            Offered::Taken
        }
        Err(mpsc::error::TrySendError::Full(_)) => Offered::Dropped,
        Err(mpsc::error::TrySendError::Closed(_)) => Offered::Closed,
    }
}

/// Events that may wait for an actor.
const MAX_UNREAD: usize = 1_000;
