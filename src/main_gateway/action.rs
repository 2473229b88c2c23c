//! What a shard asks of its owner.

use std::fmt;
use std::time::Duration;

use super::close::{Loss, MainGatewayError};
use super::message::Dispatch;

/// What the shard's owner has to do. Its `Debug` shows of a frame opcode and length only, as it may hold the token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Opens a websocket to this address, then calls [`Shard::opened`](super::Shard::opened), or [`Shard::closed`](super::Shard::closed) if it fails.
    Connect {
        /// The whole address.
        url: String,
    },
    /// A session has to be begun, and bots may not do that at any time: calls
    /// [`Shard::may_identify`](super::Shard::may_identify) when it is this shard's turn.
    RequestIdentify,
    /// Sends a text frame.
    Send(String),
    /// Closes the websocket with this code, or gives up opening it, and tells nothing more of it.
    Close(u16),
    /// Passes an event on.
    Dispatch(Dispatch),
    /// Tells that a [probe](super::Shard::probe) has its answer; nothing to do.
    Answered,
    /// Tells that the connection is lost, and when the next is tried; nothing to do.
    Reconnecting {
        /// The time until then.
        after: Duration,
        /// Why it is lost.
        why: Loss,
    },
    /// Tells that Discord refuses us for good. The last action.
    Fail(MainGatewayError),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { url } => f.debug_struct("Connect").field("url", url).finish(),
            Self::RequestIdentify => f.write_str("RequestIdentify"),
            Self::Send(frame) => {
                let op = frame.trim_start_matches(r#"{"op":"#).split(',').next().unwrap_or_default();
                write!(f, "Send(op {op}, {} bytes)", frame.len())
            }
            Self::Close(code) => f.debug_tuple("Close").field(code).finish(),
            Self::Dispatch(dispatch) => f.debug_tuple("Dispatch").field(dispatch).finish(),
            Self::Reconnecting { after, why } => {
                f.debug_struct("Reconnecting").field("after", after).field("why", why).finish()
            }
            Self::Answered => f.write_str("Answered"),
            Self::Fail(error) => f.debug_tuple("Fail").field(error).finish(),
        }
    }
}
