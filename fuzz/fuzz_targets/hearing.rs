//! The receive path behind the transport encryption, and the jitter machine of each preset, under any order of facts with any bytes:
//! `cargo +nightly fuzz run hearing -- -max_len=4000 -rss_limit_mb=512`.
//!
//! No panic, bounded memory, and never more sound than there is time for.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hearing/facts.rs"]
mod facts;

fuzz_target!(|input: &[u8]| facts::facts(input));
