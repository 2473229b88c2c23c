//! The link as its owner sees it, and what the tests of its parts share.

use std::time::Instant;

/// An instant to count from.
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
pub(in crate::transport) fn start() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Reads hexadecimal digits.
pub(in crate::transport) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text} is not hexadecimal");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
