//! What the tests of this folder share.

use std::time::Instant;

/// Reads hexadecimal digits; spaces are skipped.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The moment the tests begin.
#[expect(clippy::disallowed_methods, reason = "tests count from an arbitrary moment")]
pub(super) fn start() -> Instant {
    Instant::now()
}
