//! Ogg: its pages (RFC 3533), and how long a file of them lasts.

mod duration;
mod page;

pub(super) use self::{duration::duration, page::Page};
