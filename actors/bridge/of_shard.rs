//! What is said of one shard's main gateway, and not of all.

use actix::Message;

use super::{MainGatewayAnswered, MainGatewayLost, MainGatewayRestored, MainSessionReplaced};
use crate::id::ShardId;

/// **Your bot → VoiceManager.** This, of one shard only. By itself it concerns all guilds.
#[derive(Clone, Copy, Debug)]
pub struct OfShard<M> {
    /// The shard.
    pub shard: ShardId,
    /// What is said of it.
    pub message: M,
}

impl<M: Message<Result = ()>> Message for OfShard<M> {
    type Result = ();
}

macro_rules! of_shard {
    ($($message:ident),*) => {$(
        impl $message {
            /// This, for the guilds of one shard only.
            #[must_use]
            pub fn of(self, shard: ShardId) -> OfShard<Self> {
                OfShard { shard, message: self }
            }
        }
    )*};
}

of_shard!(MainSessionReplaced, MainGatewayLost, MainGatewayRestored, MainGatewayAnswered);
