//! Channels in the place of actors, for programs on plain tokio.

use actix::{Actor, ActorContext, Context, Handler, Message};
use tokio::sync::mpsc;

/// Passes messages on to a channel; what does not fit is dropped.
pub(super) struct Forward<M>(pub(super) mpsc::Sender<M>);

impl<M: Send + Unpin + 'static> Actor for Forward<M> {
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Handler<M> for Forward<M> {
    type Result = ();

    fn handle(&mut self, message: M, ctx: &mut Context<Self>) {
        match self.0.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(
                    message = std::any::type_name::<M>(),
                    "a channel is full: a message was dropped"
                );
            }
            Err(mpsc::error::TrySendError::Closed(_)) => ctx.stop(),
        }
    }
}
