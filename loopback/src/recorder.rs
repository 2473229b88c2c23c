//! What a listener heard.

/// What was heard of one sender up to a moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hearing {
    /// Packets that came, without duplicates.
    pub packets: u64,
}
