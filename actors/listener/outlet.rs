//! Outlet: brings one who listens what it is to hear, and waits for nobody.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use actix::{Message, Recipient};
use tokio::sync::{Notify, mpsc};

use super::message::Ears;
use crate::hearing::{Heard, VoiceTick};

/// Where goes what one who listens is to hear. Dropped, it still brings what it has.
pub(super) enum Outlet {
    Frames(Courier<Heard>),
    Ticks(Courier<VoiceTick>),
    FrameChannel(mpsc::Sender<Heard>),
    TickChannel(mpsc::Sender<VoiceTick>),
}

/// What became of what was to be brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    Taken,
    /// There was no room: something was dropped.
    Dropped,
    /// Nobody takes it any more.
    Closed,
}

impl Outlet {
    /// For the arbiter that this is called on.
    pub(super) fn new(ears: Ears) -> Self {
        match ears {
            Ears::Frames(to) => Self::Frames(Courier::start(to, MAX_FRAMES)),
            Ears::Ticks(to) => Self::Ticks(Courier::start(to, MAX_TICKS)),
            Ears::FrameChannel(to) => Self::FrameChannel(to),
            Ears::TickChannel(to) => Self::TickChannel(to),
        }
    }

    pub(super) fn frame(&self, heard: Heard) -> Brought {
        match self {
            Self::Frames(courier) => courier.bring(heard),
            Self::FrameChannel(channel) => offer(channel, heard),
            Self::Ticks(_) | Self::TickChannel(_) => Brought::Taken,
        }
    }

    pub(super) fn tick(&self, tick: VoiceTick) -> Brought {
        match self {
            Self::Ticks(courier) => courier.bring(tick),
            Self::TickChannel(channel) => offer(channel, tick),
            Self::Frames(_) | Self::FrameChannel(_) => Brought::Taken,
        }
    }
}

fn offer<M>(channel: &mpsc::Sender<M>, message: M) -> Brought {
    match channel.try_send(message) {
        Ok(()) => Brought::Taken,
        Err(mpsc::error::TrySendError::Full(_)) => Brought::Dropped,
        Err(mpsc::error::TrySendError::Closed(_)) => Brought::Closed,
    }
}

/// Brings messages to an actor, some at a time, and waits until it has taken them. Of those that wait too long the oldest are
/// dropped.
pub(super) struct Courier<M>(Rc<Shared<M>>);

struct Shared<M> {
    waiting: RefCell<Waiting<M>>,
    /// There is something to bring, or nothing more to come.
    changed: Notify,
    limit: usize,
}

struct Waiting<M> {
    messages: VecDeque<M>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more is to come.
    Ending,
    /// The actor is gone.
    Closed,
}

impl<M: Message<Result = ()> + Send + 'static> Courier<M> {
    fn start(to: Recipient<M>, limit: usize) -> Self {
        let waiting = RefCell::new(Waiting { messages: VecDeque::new(), state: State::Open });
        let shared = Rc::new(Shared { waiting, changed: Notify::new(), limit });
        actix_rt::spawn(bring_all(Rc::clone(&shared), to));
        Self(shared)
    }

    fn bring(&self, message: M) -> Brought {
        let mut waiting = self.0.waiting.borrow_mut();
        if waiting.state == State::Closed {
            return Brought::Closed;
        }
        let full = waiting.messages.len() >= self.0.limit;
        if full {
            waiting.messages.pop_front();
        }
        waiting.messages.push_back(message);
        self.0.changed.notify_one();
        if full { Brought::Dropped } else { Brought::Taken }
    }
}

impl<M> Drop for Courier<M> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.borrow_mut();
        if waiting.state == State::Open {
            waiting.state = State::Ending;
        }
        self.0.changed.notify_one();
    }
}

async fn bring_all<M: Message<Result = ()> + Send + 'static>(shared: Rc<Shared<M>>, to: Recipient<M>) {
    loop {
        let (batch, last, state) = {
            let mut waiting = shared.waiting.borrow_mut();
            let count = waiting.messages.len().min(AT_A_TIME);
            let mut batch: VecDeque<M> = waiting.messages.drain(..count).collect();
            let last = batch.pop_back();
            (batch, last, waiting.state)
        };
        let Some(last) = last else {
            if state != State::Open {
                return;
            }
            shared.changed.notified().await;
            continue;
        };
        batch.into_iter().for_each(|message| to.do_send(message));
        // It has taken those before too, once it has taken this one.
        if to.send(last).await.is_err() {
            let mut waiting = shared.waiting.borrow_mut();
            waiting.state = State::Closed;
            return waiting.messages.clear();
        }
    }
}

/// Frames that may wait for an actor: more than a second of 25 speakers.
const MAX_FRAMES: usize = 2_048;
/// Ticks that may wait for an actor: five seconds.
const MAX_TICKS: usize = 256;
/// Messages in the mailbox of an actor.
const AT_A_TIME: usize = 32;
