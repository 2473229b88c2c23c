//! Replay: the packets that were heard, so that none is handed on twice (RFC 3711 section 3.3.2).
//!
//! ```text
//!       far behind       |    64 packets    |  up to 3000 ahead  |       far ahead
//! ───────────────────────┼──────────────────┼────────────────────┼────────────────────────
//!  held back, until two  │ taken once each  │ taken, and moves   │ held back, until two
//!  follow one another    │                newest  the window      │ follow one another
//! ```
//!
//! A sender may start anew anywhere, so two packets in sequence from far away begin a new window, as in RFC 3550
//! appendix A.1. Numbers are compared around the wrap. Only packets whose transport encryption was right may come here:
//! a forged one could move a window.

use std::collections::HashMap;

use super::rtp::Sequence;
use crate::id::Ssrc;

/// The packets heard from every sender.
#[derive(Debug, Default)]
pub(super) struct Replay {
    windows: HashMap<Ssrc, Window>,
    /// Counts the packets, so that each window knows when it was last used.
    packets: u64,
}

/// Whether a packet is to be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not seen before.
    New,
    /// It was seen before, or is too far away to tell.
    Replayed,
}

impl Replay {
    /// Judges a packet and remembers it. Allocates only while the table of senders grows.
    pub(super) fn packet(&mut self, ssrc: Ssrc, sequence: Sequence) -> Verdict {
        self.packets += 1;
        let packets = self.packets;
        if let Some(window) = self.windows.get_mut(&ssrc) {
            window.used = packets;
            return window.packet(sequence);
        }
        if self.windows.len() == MAX_SENDERS {
            self.drop_longest_unused();
        }
        self.windows.insert(ssrc, Window::new(sequence, packets));
        Verdict::New
    }

    /// Forgets everything: under another key nothing old can be opened, and everyone may count anew.
    pub(super) fn clear(&mut self) {
        self.windows.clear();
    }

    fn drop_longest_unused(&mut self) {
        let longest = self.windows.iter().min_by_key(|(_, window)| window.used).map(|(ssrc, _)| *ssrc);
        if let Some(ssrc) = longest {
            self.windows.remove(&ssrc);
        }
    }
}

/// The packets heard from one sender.
#[derive(Debug)]
struct Window {
    newest: Sequence,
    /// Bit n stands for the packet n before the newest.
    seen: u64,
    /// What would follow the last packet from far away (`bad_seq` in RFC 3550).
    awaited: Option<Sequence>,
    used: u64,
}

impl Window {
    fn new(sequence: Sequence, used: u64) -> Self {
        Self { newest: sequence, seen: 1, awaited: None, used }
    }

    fn packet(&mut self, sequence: Sequence) -> Verdict {
        let ahead = i32::from(sequence.since(self.newest));
        match ahead {
            1..=MAX_DROPOUT => self.advance(sequence, ahead.unsigned_abs()),
            OLDEST..=0 => self.look_back(ahead.unsigned_abs()),
            _ => self.far_away(sequence),
        }
    }

    fn advance(&mut self, sequence: Sequence, ahead: u32) -> Verdict {
        self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
        self.newest = sequence;
        Verdict::New
    }

    fn look_back(&mut self, behind: u32) -> Verdict {
        let bit = 1 << behind;
        if self.seen & bit != 0 {
            return Verdict::Replayed;
        }
        self.seen |= bit;
        Verdict::New
    }

    /// Holds the first packet from far away back: alone, it is a replay. One that follows it shows that the sender
    /// started anew.
    fn far_away(&mut self, sequence: Sequence) -> Verdict {
        if self.awaited != Some(sequence) {
            self.awaited = Some(sequence.next());
            return Verdict::Replayed;
        }
        *self = Self::new(sequence, self.used);
        // The one before it was judged too.
        self.seen |= 1 << 1;
        Verdict::New
    }
}

/// The packet furthest behind the newest that can still be told from a replay: a window of 64 packets, the least that
/// RFC 3711 asks for, and more than a second of voice.
const OLDEST: i32 = 1 - u64::BITS.cast_signed();

/// A jump this far ahead is a loss, and one further a new start (`MAX_DROPOUT` of RFC 3550): a minute of voice.
const MAX_DROPOUT: i32 = 3_000;

/// Senders remembered at a time, of which the one longest unused is dropped for another: far more than speak at once.
const MAX_SENDERS: usize = 1_024;

#[cfg(test)]
mod tests;
