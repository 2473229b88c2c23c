//! Account: what the listener of the demo heard, and whether that was all.

use std::{fmt, time::Duration};

use actix_voice::actors::CallStats;
use bytes::Bytes;

use crate::{
    exit::Failure,
    local_discord::{Hearing, Score},
    report::{count, times, were},
};

/// What came of the demo.
#[derive(Clone, Debug)]
pub struct Account {
    /// What the call has done.
    pub stats: CallStats,
    /// For how long it played, on the clock.
    pub played: Duration,
    /// What was heard.
    pub hearing: Hearing,
    /// How well that matches what was played.
    pub score: Score,
    /// The audio packets that were played, silence left out.
    pub sent: Vec<Bytes>,
    /// When the connection was to be cut.
    pub cut_after: Duration,
    /// What the cut did to what was heard.
    pub wound: Wound,
    /// The rules of Discord's that were broken.
    pub violations: Vec<String>,
}

/// What the cut of the connection did to what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wound {
    /// The connection was not cut.
    Uncut,
    /// Nothing came after the cut.
    NothingAfter,
    /// For this long nothing came.
    Gap(Duration),
}

impl Account {
    /// # Errors
    ///
    /// When it was not heard whole, with everything that was amiss.
    pub fn verdict(&self) -> Result<(), Failure> {
        let complaints: Vec<_> = [self.missing(), self.changed(), self.torn(), self.late(), self.unlike()]
            .into_iter()
            .flatten()
            .chain(self.unruly())
            .collect();
        if complaints.is_empty() { Ok(()) } else { Err(Failure::NotWhole(complaints.join("; "))) }
    }

    fn missing(&self) -> Option<String> {
        let CallStats { transport, speaker, .. } = &self.stats;
        if transport.withheld > 0 {
            return Some(format!("{} not sent for want of a key", were(transport.withheld, "frame")));
        }
        if speaker.skipped > 0 {
            return Some(format!("{} skipped, to catch up", were(speaker.skipped, "frame")));
        }
        if speaker.underruns > 0 {
            let late = were(speaker.underruns, "frame");
            return Some(format!("{late} silent, since the recording was read too slowly"));
        }
        let Hearing { packets, lost, undecryptable, .. } = self.hearing;
        if packets != self.stats.packets || lost > 0 {
            return Some(format!("of {} heard {packets}, {lost} lost", count(self.stats.packets, "packet")));
        }
        (undecryptable > 0).then(|| format!("{} not decrypt", does(undecryptable)))
    }

    fn changed(&self) -> Option<String> {
        let changed = self.sent.len() - self.untouched();
        if changed > 0 {
            return Some(format!("{} not the recording's byte for byte", were(changed as u64, "packet")));
        }
        let tail =
            self.heard_packets().skip(self.sent.len()).filter(|packet| **packet != SILENCE[..]).count();
        (tail > 0).then(|| format!("after the recording came {} of sound", count(tail as u64, "packet")))
    }

    fn torn(&self) -> Option<String> {
        let at_the_cut = match self.wound {
            Wound::Uncut => return Some("the connection was not cut".into()),
            Wound::NothingAfter => return Some("nothing was heard after the connection was cut".into()),
            Wound::Gap(gap) => gap,
        };
        if self.stats.resumes + self.stats.reconnects == 0 {
            return Some("the connection was cut, and neither resumed nor made anew".into());
        }
        let gap = at_the_cut.max(self.hearing.longest_gap);
        (gap > HIDDEN).then(|| format!("there was a gap of {} ms, and {BUFFER}", gap.as_millis()))
    }

    fn late(&self) -> Option<String> {
        let late = self.hearing.lateness.max();
        (late > HIDDEN).then(|| format!("packets came up to {} ms late, and {BUFFER}", late.as_millis()))
    }

    fn unlike(&self) -> Option<String> {
        let gain = self.score.gain_db;
        // Not a number where nothing of the original was found.
        if self.score.is_faithful() && gain.abs() <= LOUDER_DB {
            return None;
        }
        Some(format!("of the sound {}", matches(&self.score)))
    }

    fn unruly(&self) -> Option<String> {
        let broken = self.violations.len() as u64;
        (broken > 0).then(|| {
            format!(
                "{} of Discord's {} broken",
                count(broken, "rule"),
                if broken == 1 { "was" } else { "were" }
            )
        })
    }

    /// In the order in which they were sent.
    fn heard_packets(&self) -> impl Iterator<Item = &Bytes> {
        let mut packets: Vec<_> = self.hearing.audio.iter().collect();
        packets.sort_by_key(|packet| packet.position);
        packets.into_iter().map(|packet| &packet.opus)
    }

    /// How many packets were heard in their place as they were sent.
    fn untouched(&self) -> usize {
        self.heard_packets().zip(&self.sent).filter(|(heard, sent)| heard == sent).count()
    }
}

fn does(number: u64) -> String {
    format!("{} {}", count(number, "packet"), if number == 1 { "does" } else { "do" })
}

/// What the loopback says of it, shorter, and with the loudness.
fn matches(score: &Score) -> String {
    // Rounded down: 100 % is only said of all.
    let percent = (score.heard_fraction * 1000.0).floor() / 10.0;
    let Score { snr_db, correlation, gain_db, .. } = score;
    // A loss of nothing is no loss.
    let gain_db = if gain_db.abs() < 0.05 { 0.0 } else { *gain_db };
    let mut text = format!(
        "{percent:.1} % in its place (SNR {snr_db:.1} dB, correlation {correlation:.3}, loudness {gain_db:+.1} dB"
    );
    if !score.longest_hole.is_zero() {
        text += &format!(", longest hole {} ms", score.longest_hole.as_millis());
    }
    text + ")"
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stats, played, hearing, score, wound, cut_after, violations, sent } = self;
        let mode = stats.transport.mode.as_deref().unwrap_or("nothing");
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        writeln!(f, "played     {:.1} s over {mode}", played.as_secs_f64())?;
        writeln!(f, "sent       {}, {} bytes", count(stats.packets, "packet"), stats.bytes)?;
        let Hearing { packets, lost, out_of_order, duplicates, .. } = hearing;
        let (sound, untouched) = (sent.len(), self.untouched());
        writeln!(f, "heard      {}; {untouched} of {sound} byte for byte", count(*packets, "packet"))?;
        writeln!(f, "lost       {lost} ({out_of_order} out of order, {duplicates} twice)")?;
        if *wound == Wound::Uncut {
            writeln!(f, "cut        none")?;
        } else {
            let (resumes, rejoins) = (times(stats.resumes), times(stats.reconnects));
            write!(f, "cut        after {:.1} s, TCP reset; ", cut_after.as_secs_f64())?;
            writeln!(f, "resumed {resumes}, joined anew {rejoins}")?;
        }
        match wound {
            Wound::Uncut => {}
            Wound::NothingAfter => writeln!(f, "gap        from the cut to the end")?,
            Wound::Gap(gap) => {
                writeln!(
                    f,
                    "gap        {:.1} ms from packet to packet at the cut, of 20.0 ms",
                    millis(*gap)
                )?;
            }
        }
        histogram(f, hearing)?;
        if !violations.is_empty() {
            writeln!(f, "broken     {} of Discord's rules: {}", violations.len(), violations.join(", "))?;
        }
        write!(f, "match      {}", matches(score))
    }
}

/// How late packets came, against the most punctual of them.
fn histogram(f: &mut fmt::Formatter<'_>, hearing: &Hearing) -> fmt::Result {
    let all = hearing.lateness.count().max(1);
    let mut from = Duration::ZERO;
    let mut name = "late";
    for bound in LATE.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]) {
        let count = hearing.lateness.count_between(from, bound.unwrap_or(Duration::MAX));
        let label = match bound {
            Some(bound) => format!("up to {} ms", bound.as_secs_f64() * 1000.0),
            None => "more".into(),
        };
        if count > 0 {
            let bar = "█".repeat((count * BAR).div_ceil(all) as usize);
            writeln!(f, "{name:<10} {label:<12} {count:>7} {bar}")?;
            name = "";
        }
        from = bound.unwrap_or_default() + Duration::from_micros(1);
    }
    Ok(())
}

/// What a listener's jitter buffer hides; Discord's own clients hold about as much back on a bad line.
const HIDDEN: Duration = Duration::from_millis(200);
const BUFFER: &str = "a listener's buffer hides 200";
/// What nobody would call as loud as before.
const LOUDER_DB: f64 = 3.0;
const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
/// The bounds of the histogram, in microseconds.
const LATE: [u64; 8] = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 100_000];
/// How many characters stand for all packets.
const BAR: u64 = 40;

#[cfg(test)]
mod tests {
    use actix_voice_loopback::{recorder::Recorder, relay::Keep, score::match_score};
    use tokio::time::Instant;

    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn sent() -> Vec<Bytes> {
        (0..100).map(|number| Bytes::from(vec![0xFC, number])).collect()
    }

    /// These packets and five of silence, the one of this number later by this much, and all after it.
    fn heard(packets: Vec<Bytes>, (held_up, by): (usize, Duration)) -> Hearing {
        let mut recorder = Recorder::new(Keep::Audio);
        let began = Instant::now();
        let silence = std::iter::repeat_n(Bytes::from_static(&SILENCE), 5);
        for (number, packet) in packets.into_iter().chain(silence).enumerate() {
            let late = if number >= held_up { by } else { Duration::ZERO };
            let sequence = u16::try_from(number).unwrap();
            let arrival = began + FRAME * u32::from(sequence) + late;
            recorder.packet(arrival, 7, sequence, u32::from(sequence) * 960, Some(packet));
        }
        recorder.hearing()
    }

    fn faithful() -> Account {
        let sound: Vec<f32> = (0..60_000_u16).map(|at| (f32::from(at % 997) / 997.0) - 0.5).collect();
        let mut stats = CallStats::default();
        (stats.packets, stats.resumes) = (105, 1);
        Account {
            stats,
            played: FRAME * 100,
            hearing: heard(sent(), (0, Duration::ZERO)),
            score: match_score(&sound, &sound),
            sent: sent(),
            cut_after: FRAME * 50,
            wound: Wound::Gap(FRAME),
            violations: Vec::new(),
        }
    }

    #[track_caller]
    fn refuses(spoil: impl FnOnce(&mut Account), because: &str) {
        let mut account = faithful();
        spoil(&mut account);
        let refused = account.verdict().map_err(|failure| failure.to_string());
        let complaint = refused.expect_err(because);
        assert!(complaint.starts_with("not heard whole: ") && complaint.contains(because), "{complaint}");
        assert_eq!(complaint.lines().count(), 1);
    }

    #[test]
    fn what_was_heard_whole_is_said_so() {
        faithful().verdict().unwrap();
        let told = faithful().to_string();
        assert!(told.contains("heard      105 packets; 100 of 100 byte for byte\n"), "{told}");
        assert!(told.ends_with(
            "match      100.0 % in its place (SNR 120.0 dB, correlation 1.000, loudness +0.0 dB)"
        ));
    }

    #[test]
    fn what_was_not_cut_proves_nothing() {
        refuses(|account| account.wound = Wound::Uncut, "was not cut");
        refuses(
            |account| account.wound = Wound::NothingAfter,
            "nothing was heard after the connection was cut",
        );
        refuses(|account| account.stats.resumes = 0, "neither resumed nor made anew");
        let mut anew = faithful();
        (anew.stats.resumes, anew.stats.reconnects) = (0, 1);
        anew.verdict().unwrap();
    }

    #[test]
    fn what_no_jitter_buffer_hides_is_not_whole() {
        let long = Duration::from_millis(201);
        refuses(
            |account| account.wound = Wound::Gap(long),
            "a gap of 201 ms, and a listener's buffer hides 200",
        );
        refuses(|account| account.hearing = heard(sent(), (60, long)), "packets came up to 201 ms late");
        refuses(|account| account.hearing = heard(sent(), (60, long)), "a gap of 221 ms");
        let mut short = faithful();
        short.hearing = heard(sent(), (60, Duration::from_millis(150)));
        short.verdict().unwrap();
    }

    #[test]
    fn every_packet_has_to_come_as_it_was() {
        let change = |at: usize| {
            let mut packets = sent();
            packets[at] = Bytes::from_static(b"other");
            heard(packets, (0, Duration::ZERO))
        };
        refuses(|account| account.hearing = change(99), "1 packet was not the recording's byte for byte");
        let swapped = || {
            let mut packets = sent();
            packets.swap(3, 4);
            heard(packets, (0, Duration::ZERO))
        };
        refuses(|account| account.hearing = swapped(), "2 packets were not the recording's");
        refuses(|account| account.sent.truncate(90), "after the recording came 10 packets of sound");
        refuses(|account| account.stats.transport.withheld = 1, "1 frame was not sent for want of a key");
        refuses(|account| account.stats.speaker.skipped = 2, "2 frames were skipped, to catch up");
        refuses(|account| account.stats.speaker.underruns = 3, "3 frames were silent, since");
        refuses(|account| account.stats.packets = 106, "of 106 packets heard 105, 0 lost");
        refuses(|account| account.hearing.lost = 1, "of 105 packets heard 105, 1 lost");
        refuses(|account| account.hearing.undecryptable = 1, "1 packet does not decrypt");
    }

    #[test]
    fn it_has_to_sound_as_loud_as_it_was_and_the_same() {
        refuses(|account| account.score.gain_db = 3.1, "loudness +3.1 dB");
        refuses(|account| account.score.gain_db = -3.1, "loudness -3.1 dB");
        refuses(|account| account.score.gain_db = f64::NAN, "loudness");
        refuses(|account| account.score.heard_fraction = 0.98, "of the sound 98.0 % in its place");
        refuses(|account| account.score.longest_hole = FRAME * 2, "longest hole 40 ms");
    }

    #[test]
    fn a_broken_rule_is_not_whole_and_neither_hides_the_other() {
        refuses(|account| account.violations.push("PlainAudio".into()), "1 rule of Discord's was broken");
        let both = |account: &mut Account| {
            account.violations.push("PlainAudio".into());
            account.wound = Wound::Uncut;
        };
        refuses(both, "the connection was not cut; 1 rule");
    }
}
