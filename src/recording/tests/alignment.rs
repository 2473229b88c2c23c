//! What was said at one moment stands at one place of all tracks.

use super::*;

/// Speakers who say their packets on clocks of their own, over networks of their own.
struct Speaker {
    user: UserId,
    stream: u64,
    /// What their media clock shows at the beginning.
    clock: u64,
    /// What their clock is too fast, in parts per million.
    ppm: i64,
    /// What their network takes at least, and at most more.
    delay: (Duration, Duration),
    random: fastrand::Rng,
}

impl Speaker {
    fn new(user: UserId, clock: u64) -> Self {
        let delay = (Duration::ZERO, Duration::ZERO);
        Self { user, stream: 1, clock, ppm: 0, delay, random: fastrand::Rng::with_seed(user.0) }
    }

    /// Says packets from one moment to another, counted in their own frames; hands over in order.
    fn say(&mut self, studio: &mut Studio, from_frame: u32, to_frame: u32) {
        let mut frames: Vec<Heard> = (from_frame..to_frame)
            .map(|n| {
                let said = studio.began + FRAME.mul_f64(f64::from(n) * (1.0 - self.ppm as f64 / 1e6));
                let arrived = said + self.delay.0 + self.delay.1.mul_f64(self.random.f64());
                let mut frame = heard(self.user, self.clock + u64::from(n) * 960, arrived, packet(n));
                frame.stream = self.stream;
                frame
            })
            .collect();
        let mut latest = studio.began;
        for frame in frames.drain(..) {
            // What was overtaken is handed over when the late one is there.
            latest = latest.max(frame.arrived);
            let wait = latest.saturating_duration_since(studio.now);
            studio.pass(wait);
            studio.recording.heard(&frame);
        }
    }
}

/// How far packets stand from where they were said, in milliseconds: the least and the most.
fn errors(studio: &Studio, user: UserId, speaker: &Speaker) -> (f64, f64) {
    let places = studio.places(user);
    let errors = places.sounds.iter().map(|(at, packet)| {
        let said = f64::from(number(packet)) * 20.0 * (1.0 - speaker.ppm as f64 / 1e6);
        *at as f64 / 48.0 - said
    });
    errors.fold((f64::MAX, f64::MIN), |(least, most), error| (least.min(error), most.max(error)))
}

#[test]
fn without_jitter_tracks_are_aligned_to_the_millisecond() {
    let mut studio = Studio::new();
    let mut speakers = [Speaker::new(ANNA, 4_294_000_123), Speaker::new(BEN, 77)];
    speakers[1].delay.0 = Duration::from_micros(300);
    for talk in 0..20 {
        for speaker in &mut speakers {
            let from = 13 + talk * 211;
            speaker.say(&mut studio, from, from + 70);
        }
    }
    studio.finish();
    for speaker in &speakers {
        let (least, most) = errors(&studio, speaker.user, speaker);
        assert!(least >= -1.0 && most <= 1.0, "{}: {least:.2} to {most:.2} ms", speaker.user);
    }
}

#[test]
fn under_60_ms_of_jitter_tracks_are_aligned_to_20_ms() {
    for seed in 0..100 {
        let mut studio = Studio::new();
        let mut speaker = Speaker::new(ANNA, 1 << 40);
        speaker.random = fastrand::Rng::with_seed(seed);
        speaker.delay = (Duration::from_millis(10), Duration::from_millis(60));
        // The first word comes at any moment between two flushes.
        let first = speaker.random.u32(0..20);
        for talk in 0..5 {
            let from = first + talk * 150;
            speaker.say(&mut studio, from, from + 40 + talk);
        }
        studio.pass(Duration::from_secs(1));
        studio.finish();
        let (least, most) = errors(&studio, ANNA, &speaker);
        // Ten milliseconds are the network's own.
        assert!(least >= 10.0 - 20.0 && most <= 10.0 + 20.0, "seed {seed}: {least:.1} to {most:.1} ms");
    }
}

#[test]
fn another_ssrc_and_a_clock_that_jumps_are_new_anchors() {
    let mut studio = Studio::new();
    let mut speaker = Speaker::new(ANNA, 1_000_003);
    speaker.say(&mut studio, 0, 100);
    (speaker.stream, speaker.clock) = (2, 5);
    speaker.say(&mut studio, 110, 200);
    speaker.clock = 90_000_000;
    speaker.say(&mut studio, 300, 400);
    speaker.clock = 0;
    speaker.say(&mut studio, 400, 500);
    studio.finish();
    let (least, most) = errors(&studio, ANNA, &speaker);
    assert!(
        least >= -1.3 && most <= 1.3,
        "{least:.2} to {most:.2} ms: Opus knows no shorter silence than 2.5 ms"
    );
    assert_eq!(studio.session().speakers[0].streams, 4);
    assert_eq!(studio.places(ANNA).sounds.len(), 390);
}

#[test]
fn who_does_not_count_pauses_is_aligned_all_the_same() {
    let mut studio = Studio::new();
    let mut time = 0;
    for talk in 0..10 {
        say(&mut studio, ANNA, &mut time, talk * 100, 20);
        studio.pass(Duration::from_millis(500));
    }
    studio.finish();
    for (at, packet) in studio.places(ANNA).sounds {
        let (talk, n) = (number(&packet) / 100, number(&packet) % 100);
        assert_eq!(at / 48, i64::from(talk * 1_000 + n * 20), "talk {talk}, packet {n}");
    }
}

#[test]
fn a_clock_that_runs_fast_or_slow_does_not_drift_away_over_eight_hours() {
    for (ppm, pauses) in [(100, true), (-100, true), (100, false), (-100, false)] {
        let mut studio = Studio::new();
        let mut speaker = Speaker::new(ANNA, 12_345);
        speaker.ppm = ppm;
        let frames = 8 * 3_600 * 50;
        let mut from = 0;
        while from < frames {
            let to = if pauses { from + 250 } else { from + 5_000 };
            speaker.say(&mut studio, from, to);
            from = if pauses { to + 50 } else { to };
        }
        studio.finish();
        let (least, most) = errors(&studio, ANNA, &speaker);
        let bound = if pauses { 2.5 } else { 25.0 };
        assert!(least >= -bound && most <= bound, "{ppm} ppm: {least:.2} to {most:.2} ms");
    }
}
