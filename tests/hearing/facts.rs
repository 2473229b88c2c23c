//! Facts in any order, made of any bytes: packets, users who are named and leave, keys, and time.
//!
//! The fuzz target `hearing` takes them from libFuzzer, and a test from proptest.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use actix_voice::{
    hearing::{Action, Format, Hearing, ListenId, Preset, Rate, Selection, Shape},
    id::{GuildId, Ssrc, UserId},
    transport::{
        Reception, SealedVoice,
        dave::{BaseSecret, Frames, KeyChange, Passthrough},
    },
};

/// Where the last frame of each stream ended that each listener was told of.
type Ends = HashMap<(u64, u64), u64>;

/// Reads facts from these bytes, and checks what follows from them.
///
/// # Panics
///
/// When more is told than there is time for, or in the wrong order.
pub fn facts(input: &[u8]) {
    let start = start();
    let (mut now, mut rest) = (start, input);
    let (mut reception, mut frames) = (Reception::default(), Frames::new());
    let mut hearing = Hearing::new(GuildId(1));
    let listeners = [
        (Preset::Record, Format::Opus, Shape::Frames),
        (Preset::Agent, Format::Mono(Rate::Khz8), Shape::Ticks),
        (Preset::Live, Format::Mono(Rate::Khz16), Shape::Frames),
    ];
    for (nth, (preset, format, shape)) in (1..).zip(listeners) {
        hearing.listen(ListenId(nth), preset, format, Selection::all(), shape);
    }
    frames.install(KeyChange::Passthrough(Passthrough::Open), now);
    let (mut ends, mut even) = (Ends::new(), 0_u32);
    while let Some((&[what, who, sequence, time, delay, length], after)) = rest.split_first_chunk() {
        now += Duration::from_millis(u64::from(delay) / 8);
        let (ssrc, user) = (Ssrc(u32::from(who % 5)), UserId(u64::from(who / 5 % 3)));
        let (payload, after) = after.split_at(usize::from(length % 24).min(after.len()));
        rest = after;
        match what % 16 {
            0 => reception.assign(ssrc, user, &mut frames.openers, now),
            1 => {
                reception.left(user);
                hearing.left(user);
            }
            2 => {
                let secrets = vec![(user, BaseSecret::new([who; 16]))];
                frames.install(KeyChange::Receivers { epoch: who.into(), secrets }, now);
                reception.retry(&mut frames.openers, now);
            }
            3 => now += Duration::from_secs(u64::from(delay)),
            more => {
                let sequence = u16::from(sequence).wrapping_mul(if more == 4 { 257 } else { 1 });
                let timestamp = u32::from(time).wrapping_mul(if more == 5 { 16_843_009 } else { 960 });
                let voice = SealedVoice { ssrc, sequence, timestamp, payload };
                reception.voice(voice, &mut frames.openers, now);
            }
        }
        reception.expire(&mut frames.openers, now);
        for packet in reception.ready().drain(..) {
            hearing.packet(packet, now);
        }
        check(&mut hearing, now, &mut ends, &mut even);
    }
    hearing.finish();
    check(&mut hearing, now, &mut ends, &mut even);
    let ticks = (now - start).as_millis() / 20 + 1;
    assert!(u128::from(even) <= 15 * ticks, "{even} frames of even sound in {ticks} ticks");
}

#[expect(clippy::disallowed_methods, reason = "a machine wants some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

/// Takes all there is to take: no two frames of a stream lie at one time.
fn check(hearing: &mut Hearing, now: Instant, ends: &mut Ends, even: &mut u32) {
    while let Some(action) = hearing.poll(now) {
        let (listener, told) = match action {
            Action::Frame(listener, heard) => (listener, vec![heard]),
            Action::Tick(listener, tick) => (listener, tick.frames),
            _ => continue,
        };
        for heard in told {
            if listener == ListenId(3) {
                *even += 1;
                assert_eq!(heard.pcm.map(|pcm| pcm.samples.len()), Some(320));
                continue;
            }
            let end = ends.entry((listener.0, heard.stream)).or_default();
            assert!(heard.time >= *end, "{} before {end}", heard.time);
            *end = heard.time + u64::from(heard.samples);
        }
    }
}
