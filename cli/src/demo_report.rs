//! The report of the demo: what the listener heard, and whether that was all.

use std::{fmt, time::Duration};

use actix_voice::actors::CallStats;
use bytes::Bytes;

use crate::{
    exit::Failure,
    local_discord::{Hearing, Score},
    wording::{count, times, were},
};

/// What came of the demo.
#[derive(Clone, Debug)]
pub struct DemoReport {
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
    pub cut_result: CutResult,
    /// The rules of Discord's that were broken.
    pub violations: Vec<String>,
}

/// What the cut of the connection did to what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutResult {
    /// The connection was not cut.
    NotCut,
    /// Nothing came after the cut.
    NothingAfter,
    /// For this long nothing came.
    Gap(Duration),
}

impl DemoReport {
    /// # Errors
    ///
    /// When it was not heard whole, with everything that was amiss.
    pub fn verdict(&self) -> Result<(), Failure> {
        let complaints: Vec<_> = [
            self.check_counts(),
            self.check_bytes(),
            self.check_cut(),
            self.check_lateness(),
            self.check_sound(),
        ]
        .into_iter()
        .flatten()
        .chain(self.check_rules())
        .collect();
        if complaints.is_empty() { Ok(()) } else { Err(Failure::NotWhole(complaints.join("; "))) }
    }

    fn check_counts(&self) -> Option<String> {
        let CallStats { transport, speaker, .. } = &self.stats;
        if transport.withheld > 0 {
            return Some(format!("{} not sent for want of a key", were(transport.withheld, "frame")));
        }
        if transport.unsent > 0 {
            return Some(format!("{} not sent, since the system refused", were(transport.unsent, "frame")));
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
        (undecryptable > 0).then(|| format!("{} not decrypt", packets_do(undecryptable)))
    }

    fn check_bytes(&self) -> Option<String> {
        let changed = self.sent.len() - self.identical_packets();
        if changed > 0 {
            return Some(format!("{} not the recording's byte for byte", were(changed as u64, "packet")));
        }
        let tail =
            self.heard_packets().skip(self.sent.len()).filter(|packet| **packet != SILENCE[..]).count();
        (tail > 0).then(|| format!("after the recording came {} of sound", count(tail as u64, "packet")))
    }

    fn check_cut(&self) -> Option<String> {
        let at_the_cut = match self.cut_result {
            CutResult::NotCut => return Some("the connection was not cut".into()),
            CutResult::NothingAfter => return Some("nothing was heard after the connection was cut".into()),
            CutResult::Gap(gap) => gap,
        };
        if self.stats.resumes + self.stats.reconnects == 0 {
            return Some("the connection was cut, and neither resumed nor made anew".into());
        }
        let gap = at_the_cut.max(self.hearing.longest_gap);
        (gap > JITTER_BUFFER)
            .then(|| format!("there was a gap of {} ms, and {JITTER_BUFFER_TEXT}", gap.as_millis()))
    }

    fn check_lateness(&self) -> Option<String> {
        let late = self.hearing.lateness.max();
        (late > JITTER_BUFFER)
            .then(|| format!("packets came up to {} ms late, and {JITTER_BUFFER_TEXT}", late.as_millis()))
    }

    fn check_sound(&self) -> Option<String> {
        let gain = self.score.gain_db;
        // Not a number where nothing of the original was found.
        if self.score.is_faithful() && gain.abs() <= MAX_LOUDNESS_CHANGE_DB {
            return None;
        }
        Some(format!("of the sound {}", describe_score(&self.score)))
    }

    fn check_rules(&self) -> Option<String> {
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
    fn identical_packets(&self) -> usize {
        self.heard_packets().zip(&self.sent).filter(|(heard, sent)| heard == sent).count()
    }
}

/// Says how many do: `1 packet does`, `2 packets do`.
fn packets_do(number: u64) -> String {
    format!("{} {}", count(number, "packet"), if number == 1 { "does" } else { "do" })
}

/// The loopback's score in short, with the loudness.
fn describe_score(score: &Score) -> String {
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

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stats, played, hearing, score, cut_result, cut_after, violations, sent } = self;
        let mode = stats.transport.mode.as_deref().unwrap_or("nothing");
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        writeln!(f, "played     {:.1} s over {mode}", played.as_secs_f64())?;
        writeln!(f, "sent       {}, {} bytes", count(stats.packets, "packet"), stats.bytes)?;
        let Hearing { packets, lost, out_of_order, duplicates, .. } = hearing;
        let (sound, identical) = (sent.len(), self.identical_packets());
        writeln!(f, "heard      {}; {identical} of {sound} byte for byte", count(*packets, "packet"))?;
        writeln!(f, "lost       {lost} ({out_of_order} out of order, {duplicates} twice)")?;
        if *cut_result == CutResult::NotCut {
            writeln!(f, "cut        none")?;
        } else {
            let (resumes, rejoins) = (times(stats.resumes), times(stats.reconnects));
            write!(f, "cut        after {:.1} s, TCP reset; ", cut_after.as_secs_f64())?;
            writeln!(f, "resumed {resumes}, joined anew {rejoins}")?;
        }
        match cut_result {
            CutResult::NotCut => {}
            CutResult::NothingAfter => writeln!(f, "gap        from the cut to the end")?,
            CutResult::Gap(gap) => {
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
        write!(f, "match      {}", describe_score(score))
    }
}

/// How late packets came, against the most punctual of them.
fn histogram(f: &mut fmt::Formatter<'_>, hearing: &Hearing) -> fmt::Result {
    let all = hearing.lateness.count().max(1);
    let mut from = Duration::ZERO;
    let mut name = "late";
    for bound in LATENESS_BOUNDS_US.iter().map(|bound| Some(Duration::from_micros(*bound))).chain([None]) {
        let count = hearing.lateness.count_between(from, bound.unwrap_or(Duration::MAX));
        let label = match bound {
            Some(bound) => format!("up to {} ms", bound.as_secs_f64() * 1000.0),
            None => "more".into(),
        };
        if count > 0 {
            let bar = "█".repeat((count * BAR_WIDTH).div_ceil(all) as usize);
            writeln!(f, "{name:<10} {label:<12} {count:>7} {bar}")?;
            name = "";
        }
        from = bound.unwrap_or_default() + Duration::from_micros(1);
    }
    Ok(())
}

/// What a listener's jitter buffer hides; Discord's own clients hold about as much back on a bad line.
const JITTER_BUFFER: Duration = Duration::from_millis(200);
const JITTER_BUFFER_TEXT: &str = "a listener's buffer hides 200";
/// The loudness may change by so much before a listener calls it another.
const MAX_LOUDNESS_CHANGE_DB: f64 = 3.0;
const SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
/// The bounds of the histogram, in microseconds.
const LATENESS_BOUNDS_US: [u64; 8] = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 100_000];
/// How many characters stand for all packets.
const BAR_WIDTH: u64 = 40;

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

    fn faithful() -> DemoReport {
        let sound: Vec<f32> = (0..60_000_u16).map(|at| (f32::from(at % 997) / 997.0) - 0.5).collect();
        let mut stats = CallStats::default();
        (stats.packets, stats.resumes) = (105, 1);
        DemoReport {
            stats,
            played: FRAME * 100,
            hearing: heard(sent(), (0, Duration::ZERO)),
            score: match_score(&sound, &sound),
            sent: sent(),
            cut_after: FRAME * 50,
            cut_result: CutResult::Gap(FRAME),
            violations: Vec::new(),
        }
    }

    #[track_caller]
    fn refuses(spoil: impl FnOnce(&mut DemoReport), because: &str) {
        let mut report = faithful();
        spoil(&mut report);
        let refused = report.verdict().map_err(|failure| failure.to_string());
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
        refuses(|report| report.cut_result = CutResult::NotCut, "was not cut");
        refuses(
            |report| report.cut_result = CutResult::NothingAfter,
            "nothing was heard after the connection was cut",
        );
        refuses(|report| report.stats.resumes = 0, "neither resumed nor made anew");
        let mut anew = faithful();
        (anew.stats.resumes, anew.stats.reconnects) = (0, 1);
        anew.verdict().unwrap();
    }

    #[test]
    fn what_no_jitter_buffer_hides_is_not_whole() {
        let long = Duration::from_millis(201);
        refuses(
            |report| report.cut_result = CutResult::Gap(long),
            "a gap of 201 ms, and a listener's buffer hides 200",
        );
        refuses(|report| report.hearing = heard(sent(), (60, long)), "packets came up to 201 ms late");
        refuses(|report| report.hearing = heard(sent(), (60, long)), "a gap of 221 ms");
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
        refuses(|report| report.hearing = change(99), "1 packet was not the recording's byte for byte");
        let swapped = || {
            let mut packets = sent();
            packets.swap(3, 4);
            heard(packets, (0, Duration::ZERO))
        };
        refuses(|report| report.hearing = swapped(), "2 packets were not the recording's");
        refuses(|report| report.sent.truncate(90), "after the recording came 10 packets of sound");
        refuses(|report| report.stats.transport.withheld = 1, "1 frame was not sent for want of a key");
        refuses(|report| report.stats.speaker.skipped = 2, "2 frames were skipped, to catch up");
        refuses(|report| report.stats.speaker.underruns = 3, "3 frames were silent, since");
        refuses(|report| report.stats.packets = 106, "of 106 packets heard 105, 0 lost");
        refuses(|report| report.hearing.lost = 1, "of 105 packets heard 105, 1 lost");
        refuses(|report| report.hearing.undecryptable = 1, "1 packet does not decrypt");
    }

    #[test]
    fn it_has_to_sound_as_loud_as_it_was_and_the_same() {
        refuses(|report| report.score.gain_db = 3.1, "loudness +3.1 dB");
        refuses(|report| report.score.gain_db = -3.1, "loudness -3.1 dB");
        refuses(|report| report.score.gain_db = f64::NAN, "loudness");
        refuses(|report| report.score.heard_fraction = 0.98, "of the sound 98.0 % in its place");
        refuses(|report| report.score.longest_hole = FRAME * 2, "longest hole 40 ms");
    }

    #[test]
    fn a_broken_rule_is_not_whole_and_neither_hides_the_other() {
        refuses(|report| report.violations.push("PlainAudio".into()), "1 rule of Discord's was broken");
        let both = |report: &mut DemoReport| {
            report.violations.push("PlainAudio".into());
            report.cut_result = CutResult::NotCut;
        };
        refuses(both, "the connection was not cut; 1 rule");
    }
}
