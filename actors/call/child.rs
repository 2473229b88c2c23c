//! Child: one actor that a call owns, and the number by which its reports are told from those of its predecessors.

use actix::{Actor, Addr, Context, Handler, Message, prelude::SendError};

/// The actor has more to do than it can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full;

/// The newest actor of its kind.
pub(super) struct Child<A: Actor> {
    addr: Option<Addr<A>>,
    generation: u64,
}

impl<A: Actor> Default for Child<A> {
    fn default() -> Self {
        Self { addr: None, generation: 0 }
    }
}

impl<A: Actor<Context = Context<A>>> Child<A> {
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// Replaces the actor by the one that is started with this number; returns the one before.
    pub(super) fn replace(&mut self, start: impl FnOnce(u64) -> Addr<A>) -> Option<Addr<A>> {
        self.generation += 1;
        self.addr.replace(start(self.generation))
    }

    /// Whether a report with this number is the actor's own.
    pub(super) fn accepts(&self, generation: u64) -> bool {
        self.addr.is_some() && self.generation == generation
    }

    /// Lets go of the actor: its further reports do not count.
    pub(super) fn take(&mut self) -> Option<Addr<A>> {
        self.addr.take()
    }

    pub(super) fn addr(&self) -> Option<&Addr<A>> {
        self.addr.as_ref()
    }

    pub(super) fn is_none(&self) -> bool {
        self.addr.is_none()
    }

    /// Sends a message, if there is an actor to take it.
    pub(super) fn send<M: Message<Result = ()> + Send + 'static>(&self, message: M)
    where
        A: Handler<M>,
    {
        if let Some(addr) = &self.addr {
            addr.do_send(message);
        }
    }

    /// Sends a message that counts, to an actor whose mailbox has a bound.
    ///
    /// # Errors
    ///
    /// When the mailbox is full. Without an actor there is nothing to be full.
    pub(super) fn send_bounded<M: Message<Result = ()> + Send + 'static>(
        &self,
        message: M,
    ) -> Result<(), Full>
    where
        A: Handler<M>,
    {
        match self.addr.as_ref().map(|addr| addr.try_send(message)) {
            Some(Err(SendError::Full(_))) => Err(Full),
            Some(Ok(()) | Err(SendError::Closed(_))) | None => Ok(()),
        }
    }
}
