//! How long an Ogg file lasts: by the positions that its pages tell (RFC 3533), of all streams that are chained in it.

use std::collections::HashMap;
use std::time::Duration;

use super::super::input::Input;
use super::super::length;
use super::page::Page;

/// Counts through a file that can be read twice; `None` where that is not so, or the file is very long.
pub(in crate::audio::decode) fn duration(input: &mut Input) -> Option<Duration> {
    let start = input.position();
    if input.byte_length()? > MAX_COUNTED {
        return None;
    }
    let mut pages = input.again();
    let (mut total, mut links) = (Duration::ZERO, Links::default());
    loop {
        let Some(page) = Page::parse(pages.peek(Page::LONGEST_HEADER)) else {
            // Damage, or the end: to the next page.
            let ahead = pages.peek(Page::LONGEST_HEADER);
            if ahead.len() < 27 {
                break;
            }
            let next = (1..ahead.len()).find(|&at| ahead[at..].starts_with(b"Ogg")).unwrap_or(ahead.len());
            pages.consume(next as u64);
            continue;
        };
        if page.is_first() {
            if links.is_running {
                total += links.close();
            }
            let ahead = pages.peek(page.header + 48);
            links.add(&page, ahead.get(page.header..).unwrap_or_default());
        } else {
            links.is_running = true;
            links.note(&page);
        }
        pages.consume(page.length() as u64);
    }
    total += links.close();
    input.return_to(start);
    (!total.is_zero()).then_some(total)
}

/// The streams that play at the same time.
#[derive(Default)]
struct Links {
    streams: HashMap<u32, Link>,
    /// Whether pages that are not first ones have come.
    is_running: bool,
}

struct Link {
    rate: u32,
    /// What to leave out at the start, in samples.
    skip: u64,
    last: u64,
}

impl Links {
    fn add(&mut self, page: &Page, identification: &[u8]) {
        let number = |at: usize, length: usize| {
            let bytes = identification.get(at..at + length)?;
            Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)))
        };
        let (rate, skip) = match identification {
            [b'O', b'p', b'u', b's', ..] => (Some(48_000), number(10, 2)),
            [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => (number(12, 4), None),
            // STREAMINFO follows thirteen bytes and a block header; the rate is its twenty bits.
            [0x7F, b'F', b'L', b'A', b'C', ..] => (number(27, 3).map(|rate| rate.swap_bytes() >> 12), None),
            _ => return,
        };
        if let Some(rate) = rate.filter(|&rate| rate > 0) {
            self.streams.insert(page.serial, Link { rate, skip: skip.unwrap_or(0).into(), last: 0 });
        }
    }

    fn note(&mut self, page: &Page) {
        if let Some(stream) = self.streams.get_mut(&page.serial).filter(|_| page.position != u64::MAX) {
            stream.last = stream.last.max(page.position);
        }
    }

    /// Ends these streams, and says how long the longest was.
    fn close(&mut self) -> Duration {
        self.is_running = false;
        let lasts = |link: Link| length::of_samples(link.last.saturating_sub(link.skip), link.rate);
        self.streams.drain().map(|(_, link)| lasts(link)).max().unwrap_or_default()
    }
}

/// A file that is longer is not read twice.
const MAX_COUNTED: u64 = 64 << 20;
