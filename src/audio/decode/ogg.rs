//! Ogg: pages (RFC 3533), how long a file of them lasts, and the one codec that is not decoded, Opus (RFC 7845).

mod duration;
mod opus;
mod page;

pub(super) use self::{duration::duration, opus::OggOpusReader};
