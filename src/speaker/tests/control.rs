//! Stories of tracks that are paused, faded, sought, repeated and joined; what is heard is decoded and listened to.

use super::{
    mixing::{assert_close, tone},
    *,
};
use crate::audio::{filter::Filters, opus::Decoder};

/// A file: so many frames, again from any place. It says how far its last frame goes.
pub(super) struct File {
    frames: Vec<Frame>,
    last: usize,
}

impl File {
    /// A tone, as packets.
    pub(super) fn opus(hertz: f32, amplitude: f32, frames: usize) -> Self {
        let mut tone = tone(hertz, amplitude);
        let mut encoder = Encoder::new(&EncoderSettings::default()).unwrap();
        let mut packet = [0; MAX_PACKET];
        let mut next = || {
            let length = encoder.encode(&tone(), &mut packet).unwrap();
            Frame::Opus(Bytes::copy_from_slice(&packet[..length]))
        };
        Self { frames: (0..frames).map(|_| next()).collect(), last: FRAME_SAMPLES }
    }

    /// A tone, as samples; the last frame is filled up with something loud that must not be heard.
    pub(super) fn pcm(hertz: f32, amplitude: f32, frames: usize, last: usize) -> Self {
        let mut tone = tone(hertz, amplitude);
        let mut frames: Vec<_> = (0..frames).map(|_| tone()).collect();
        frames.last_mut().unwrap()[last * CHANNELS..].fill(0.9);
        Self { frames: frames.into_iter().map(Frame::Pcm).collect(), last }
    }
}

/// Plays files: it answers whatever their sources are asked.
pub(super) struct Deck {
    story: Story,
    files: BTreeMap<TrackId, (File, usize)>,
    log: Vec<Action>,
}

impl Deck {
    pub(super) fn new() -> Self {
        Self { story: Story::linked(), files: BTreeMap::new(), log: Vec::new() }
    }

    pub(super) fn load(&mut self, id: TrackId, file: File, change: impl FnOnce(&mut TrackSettings)) {
        let mut settings = TrackSettings { seekable: true, ..TrackSettings::default() };
        settings.duration = Some(FRAME * u32::try_from(file.frames.len()).unwrap());
        change(&mut settings);
        self.files.insert(id, (file, 0));
        self.story.playout.attach(id, settings);
        self.drive();
    }

    pub(super) fn play(&mut self, id: TrackId, file: File) {
        self.load(id, file, |_| ());
    }

    pub(super) fn ask(&mut self, id: TrackId, command: TrackCommand) {
        assert!(self.story.playout.command(id, command, self.story.now));
        self.drive();
    }

    fn drive(&mut self) {
        self.story.drive();
        for action in self.story.log() {
            match action {
                Action::Demand(id, frames) => self.supply(id, frames),
                Action::Seek { track, run, to, frames } => {
                    let at = to.as_millis() as usize / 20;
                    self.files.get_mut(&track).unwrap().1 = at;
                    self.story.playout.sought(track, run, FRAME * at as u32);
                    self.supply(track, frames);
                }
                _ => {}
            }
            self.log.push(action);
        }
        if !self.story.log.is_empty() {
            self.drive();
        }
    }

    fn supply(&mut self, id: TrackId, frames: usize) {
        let (File { frames: all, last }, at) = self.files.get_mut(&id).unwrap();
        let run = self.story.playout.run(id);
        let batch: Vec<_> = all.iter().skip(*at).take(frames).cloned().collect();
        let ends = batch.len() < frames;
        *at += batch.len();
        self.story.playout.supply(id, run, batch, self.story.now);
        if ends {
            self.story.playout.finish(id, run, TrackEnd::Finished, *last);
        }
        self.story.drive();
    }

    pub(super) fn filter_call(&mut self, filters: &Filters) {
        self.story.playout.set_filters(filters);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.story.now + time;
        while let Some(deadline) = self.story.playout.deadline().filter(|deadline| *deadline <= until) {
            self.story.now = deadline;
            self.drive();
        }
        self.story.now = until;
    }

    pub(super) fn state(&self, id: TrackId) -> TrackState {
        self.story.playout.state(id).unwrap()
    }

    /// What was told, but for packets and demands.
    pub(super) fn told(&mut self) -> Vec<Action> {
        let told = self.log.iter().filter(|action| {
            !matches!(
                action,
                Action::Voice(_)
                    | Action::Demand(..)
                    | Action::Seek { .. }
                    | Action::Probe(_)
                    | Action::Speaking(_)
            )
        });
        told.cloned().collect()
    }

    fn packets(&self) -> Vec<Bytes> {
        let voice =
            |action: &Action| if let Action::Voice(frame) = action { Some(frame.opus.clone()) } else { None };
        self.log.iter().filter_map(voice).collect()
    }

    /// What was heard, on the left.
    pub(super) fn heard(&self) -> Vec<f32> {
        let (mut decoder, mut samples) = (Decoder::new().unwrap(), Vec::new());
        for packet in self.packets() {
            decoder.decode(Some(&packet), &mut samples).unwrap();
        }
        samples.into_iter().step_by(CHANNELS).collect()
    }

    /// How many of the packets are as they came.
    pub(super) fn passed(&self) -> u64 {
        self.story.playout.counts().passed_through
    }
}

/// How loud 20 ms are: the amplitude of a sine of the same power.
pub(super) fn loudness(heard: &[f32], frame: usize) -> f32 {
    let section = &heard[frame * FRAME_SAMPLES..(frame + 1) * FRAME_SAMPLES];
    (2.0 * section.iter().map(|sample| sample * sample).sum::<f32>() / section.len() as f32).sqrt()
}

/// The largest change of the change from one sample to the next: a click in a tone shows there.
pub(super) fn roughest(heard: &[f32]) -> f32 {
    heard.windows(3).map(|of| (of[0] - 2.0 * of[1] + of[2]).abs()).fold(0.0, f32::max)
}

#[test]
fn a_paused_track_is_silent_and_goes_on_where_it_was() {
    let mut deck = Deck::new();
    deck.play(MUSIC, File::opus(440.0, 0.3, 200));
    deck.pass(SECOND);
    deck.ask(MUSIC, TrackCommand::Pause);
    let before = deck.state(MUSIC);
    let packets = deck.packets().len();
    deck.pass(SECOND * 3_600);
    assert_eq!(deck.packets().len(), packets + 5, "five frames of silence, and then nothing");
    assert_eq!(deck.state(MUSIC), before);
    assert!(before.paused && before.position == FRAME * 51);
    deck.ask(MUSIC, TrackCommand::Resume);
    deck.pass(SECOND * 5);
    let sent = deck.packets();
    let file = File::opus(440.0, 0.3, 200).frames.into_iter().map(|frame| match frame {
        Frame::Opus(packet) => packet,
        Frame::Pcm(_) => panic!("a packet"),
    });
    assert_eq!(
        sent.into_iter().filter(|packet| packet[..] != SILENCE).collect::<Vec<_>>(),
        file.collect::<Vec<_>>()
    );
    assert_eq!(
        deck.told(),
        [
            Action::Started(MUSIC),
            Action::Paused(MUSIC),
            Action::Resumed(MUSIC),
            Action::Ended(MUSIC, TrackEnd::Finished)
        ]
    );
}

#[test]
fn another_volume_is_reached_in_twenty_milliseconds_without_a_click_and_back_packets_pass() {
    let mut deck = Deck::new();
    deck.play(MUSIC, File::opus(500.0, 0.4, 400));
    deck.pass(SECOND);
    let as_it_is = roughest(&deck.heard()[4_800..]);
    deck.ask(MUSIC, TrackCommand::Volume(0.25, Duration::ZERO));
    deck.pass(SECOND);
    deck.ask(MUSIC, TrackCommand::Volume(1.0, Duration::ZERO));
    deck.pass(SECOND);
    let heard = deck.heard();
    for (frame, wanted) in [(40, 0.4), (49, 0.4), (53, 0.1), (98, 0.1), (104, 0.4), (110, 0.4), (140, 0.4)] {
        assert_close(loudness(&heard, frame), wanted);
    }
    assert!(roughest(&heard[4_800..]) < 1.5 * as_it_is, "{} and {as_it_is}", roughest(&heard[4_800..]));
    assert!(deck.passed() > 90, "{} packets passed", deck.passed());
}

#[test]
fn a_change_between_packets_and_mix_moves_nothing_in_time() {
    // Alone, then beside a silent track, then alone again.
    let play = |beside: bool| {
        let mut deck = Deck::new();
        deck.play(MUSIC, File::opus(310.0, 0.4, 300));
        deck.pass(SECOND);
        if beside {
            deck.play(SPEECH, File::pcm(500.0, 0.0, 50, FRAME_SAMPLES));
        }
        deck.pass(SECOND * 2);
        deck.heard()
    };
    let (alone, beside) = (play(false), play(true));
    let apart = |from: usize, to: usize| {
        let pairs = alone[from..to].iter().zip(&beside[from..to]);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(apart(0, 48_000) == 0.0);
    assert!(apart(48_000, 120_000) < 0.05, "{}", apart(48_000, 120_000));
    assert!(roughest(&beside[4_800..]) < 1.5 * roughest(&alone[4_800..]));
}

#[test]
fn fades_take_the_time_that_was_said_and_end_as_was_said() {
    let mut deck = Deck::new();
    deck.load(MUSIC, File::pcm(500.0, 0.4, 1_000, FRAME_SAMPLES), |settings| settings.fade_in = SECOND);
    deck.pass(SECOND * 2);
    deck.ask(MUSIC, TrackCommand::FadeOut(SECOND, Curve::EqualPower, AfterFade::Pause));
    deck.pass(SECOND * 2);
    assert!(deck.state(MUSIC).paused);
    let heard = deck.heard();
    for (frame, wanted) in [(1, 0.01), (25, 0.205), (60, 0.4), (99, 0.4), (126, 0.283), (151, 0.0)] {
        assert_close(loudness(&heard, frame), wanted);
    }
    deck.ask(MUSIC, TrackCommand::FadeIn(FRAME * 10, Curve::Linear));
    deck.pass(SECOND);
    deck.ask(MUSIC, TrackCommand::FadeOut(FRAME * 10, Curve::Linear, AfterFade::Stop));
    deck.pass(FRAME * 20);
    let told = deck.told();
    assert_eq!(
        told[1..],
        [Action::Paused(MUSIC), Action::Resumed(MUSIC), Action::Ended(MUSIC, TrackEnd::Stopped)]
    );
}

#[test]
fn what_is_sought_is_heard_next_and_what_was_queued_is_not() {
    let mut deck = Deck::new();
    // Each second another loudness.
    let mut file = File::pcm(500.0, 0.1, 50, FRAME_SAMPLES);
    for nth in 2..6 {
        file.frames.extend(File::pcm(500.0, 0.1 * nth as f32, 50, FRAME_SAMPLES).frames);
    }
    deck.play(MUSIC, file);
    deck.pass(FRAME * 10);
    for (to, wanted) in [(4_100, 0.5), (100, 0.1), (2_500, 0.3)] {
        let frame = deck.packets().len();
        deck.ask(MUSIC, TrackCommand::Seek(MILLI * to));
        assert_eq!(deck.state(MUSIC).position, MILLI * to);
        deck.pass(FRAME * 10);
        assert_close(loudness(&deck.heard(), frame + 2), wanted);
    }
    deck.pass(SECOND * 10);
    assert_eq!(deck.packets().len(), 10 + 1 + 20 + 125 + 5);
    assert_eq!(deck.told()[1], Action::Seeked(MUSIC, MILLI * 4_100));
}

#[test]
fn a_source_that_cannot_go_elsewhere_goes_on_and_so_does_one_that_answers_late_or_never() {
    let mut deck = Deck::new();
    deck.load(MUSIC, File::opus(440.0, 0.3, 100), |settings| settings.seekable = false);
    deck.ask(MUSIC, TrackCommand::Seek(SECOND));
    assert!(matches!(deck.told().last(), Some(Action::SeekRefused(MUSIC, _))), "{:?}", deck.told());
    deck.pass(SECOND * 3);
    assert_eq!((deck.packets().len(), deck.passed()), (105, 100));

    let mut story = Story::linked();
    story.sources.insert(MUSIC, source(1_000));
    story.playout.attach(MUSIC, TrackSettings { seekable: true, ..TrackSettings::default() });
    story.drive();
    story.pass(FRAME * 10);
    story.playout.command(MUSIC, TrackCommand::Seek(SECOND), story.now);
    story.pass(FRAME * 10);
    assert_eq!(story.playout.counts().passed_through, 21, "what is queued is heard meanwhile");
    let run = story.playout.run(MUSIC);
    story.playout.seek_refused(MUSIC, run, "no".into());
    story.pass(FRAME * 100);
    assert_eq!(story.heard(), packets(0..121));
    story.playout.sought(MUSIC, run, SECOND);
    story.drive();
    assert_eq!(story.log(), [], "it has answered already");
}

#[test]
fn a_loop_has_no_gap_and_what_is_queued_of_it_is_dropped_once_it_is_not_wanted() {
    let mut deck = Deck::new();
    // 200 ms and 6.25 ms: 99 periods and a quarter, so that each start is heard.
    deck.load(MUSIC, File::pcm(480.0, 0.4, 11, 300), |settings| settings.repeat = Repeat::Times(3));
    deck.pass(SECOND * 3);
    let length = 10 * 960 + 300;
    let heard = deck.heard();
    assert_eq!(deck.packets().len(), (4_usize * length).div_ceil(960) + 5);
    let silent = heard[312..312 + 4 * length]
        .chunks(48)
        .filter(|ms| ms.iter().all(|sample| sample.abs() < 0.05))
        .count();
    assert_eq!(silent, 0, "no millisecond of silence");
    let looped = |left| Action::Looped(MUSIC, left);
    assert_eq!(
        deck.told()[1..],
        [
            looped(Repeat::Times(2)),
            looped(Repeat::Times(1)),
            looped(Repeat::Times(0)),
            Action::Ended(MUSIC, TrackEnd::Finished)
        ]
    );

    let mut deck = Deck::new();
    deck.load(MUSIC, File::opus(440.0, 0.3, 20), |settings| settings.repeat = Repeat::Forever);
    deck.pass(SECOND * 10);
    deck.ask(MUSIC, TrackCommand::Repeat(Repeat::Off));
    deck.pass(SECOND);
    assert_eq!(deck.packets().len(), 520 + 5, "to the end of the round that plays");
    assert_eq!(deck.passed(), 520);
    deck.play(SPEECH, File::opus(440.0, 0.3, 20));
    deck.ask(SPEECH, TrackCommand::Repeat(Repeat::Times(1)));
    deck.pass(SECOND * 2);
    assert_eq!(deck.passed(), 560, "also when the source has ended already");
}

#[test]
fn a_track_that_is_empty_is_not_repeated() {
    let mut deck = Deck::new();
    let empty = File { frames: Vec::new(), last: FRAME_SAMPLES };
    deck.load(MUSIC, empty, |settings| settings.repeat = Repeat::Forever);
    assert_eq!(deck.told(), [Action::Ended(MUSIC, TrackEnd::Finished)]);
}

/// Two halves of one tone, as two tracks.
fn halves(cut: usize) -> (File, File) {
    let mut tone = tone(333.0, 0.4);
    let all: Vec<f32> = (0..100).flat_map(|_| tone().to_vec()).collect();
    let file = |samples: &[f32]| {
        let chunks = samples.chunks(FRAME_SAMPLES * CHANNELS);
        let last = chunks.clone().next_back().map_or(FRAME_SAMPLES, |chunk| chunk.len() / CHANNELS);
        let frames = chunks.map(|chunk| {
            let mut pcm = Pcm::default();
            pcm[..chunk.len()].copy_from_slice(chunk);
            Frame::Pcm(pcm)
        });
        File { frames: frames.collect(), last }
    };
    (file(&all[..cut * CHANNELS]), file(&all[cut * CHANNELS..]))
}

#[test]
fn one_track_follows_another_without_a_sample_between_them() {
    let mut whole = Deck::new();
    whole.play(MUSIC, halves(0).1);
    whole.pass(SECOND * 3);
    for cut in [48_000, 48_001, 40_000, 47_999, 30_500] {
        let mut deck = Deck::new();
        let (first, second) = halves(cut);
        deck.play(MUSIC, first);
        let start = Start::After { track: MUSIC, crossfade: Duration::ZERO };
        deck.load(SPEECH, second, |settings| settings.start = start);
        deck.pass(SECOND * 3);
        assert_eq!(deck.packets(), whole.packets(), "cut after {cut} samples");
        let ended = |track| Action::Ended(track, TrackEnd::Finished);
        let told = deck.told();
        assert!(told.contains(&Action::Started(SPEECH)) && told.contains(&ended(MUSIC)), "{told:?}");
    }
}

#[test]
fn packets_follow_packets_without_a_frame_between_them_also_when_the_first_is_stopped() {
    let mut deck = Deck::new();
    deck.play(MUSIC, File::opus(440.0, 0.3, 60));
    let start = Start::After { track: MUSIC, crossfade: Duration::ZERO };
    deck.load(SPEECH, File::opus(550.0, 0.3, 60), |settings| settings.start = start);
    deck.pass(SECOND * 5);
    assert_eq!((deck.passed(), deck.packets().len()), (120, 125));
    assert_eq!(deck.story.playout.counts().underruns, 0);

    let mut deck = Deck::new();
    deck.play(MUSIC, File::opus(440.0, 0.3, 60));
    deck.load(SPEECH, File::opus(550.0, 0.3, 60), |settings| settings.start = start);
    deck.pass(FRAME * 9);
    deck.story.stop(Some(MUSIC));
    deck.drive();
    deck.pass(SECOND * 5);
    assert_eq!((deck.passed(), deck.packets().len()), (70, 75));
}

#[test]
fn a_crossfade_is_as_loud_as_what_it_joins() {
    for crossfade in [500, 2_000, 12_000] {
        let crossfade = MILLI * crossfade;
        let mut deck = Deck::new();
        deck.play(MUSIC, File::pcm(500.0, 0.4, 1_000, FRAME_SAMPLES));
        let start = Start::After { track: MUSIC, crossfade };
        deck.load(SPEECH, File::pcm(801.0, 0.4, 1_000, FRAME_SAMPLES), |settings| settings.start = start);
        deck.pass(SECOND * 50);
        let heard = deck.heard();
        let frames = 2_000 - (crossfade.as_millis() / 20) as usize;
        assert_eq!(deck.packets().len(), frames + 5, "{crossfade:?}");
        for frame in (2..frames - 2).step_by(7) {
            // Over five frames, as two tones beat.
            let loud: f32 = (frame.saturating_sub(2)..(frame + 3).min(frames))
                .map(|nth| loudness(&heard, nth).powi(2))
                .sum::<f32>();
            let count = (frame + 3).min(frames) - frame.saturating_sub(2);
            let db = 20.0 * ((loud / count as f32).sqrt() / 0.4).log10();
            assert!(db.abs() < 0.5, "{crossfade:?}: {db} dB in frame {frame}");
        }
        assert!(deck.told().contains(&Action::Ended(MUSIC, TrackEnd::Finished)));
    }
}

#[test]
fn music_is_turned_down_while_speech_is_heard_and_up_again_in_the_times_that_were_said() {
    let mut deck = Deck::new();
    deck.play(MUSIC, File::pcm(500.0, 0.4, 1_000, FRAME_SAMPLES));
    deck.pass(SECOND);
    let ducking = Ducking::by_db(12.0).times(FRAME * 10, FRAME * 20);
    deck.load(SPEECH, File::pcm(500.0, 0.0, 50, FRAME_SAMPLES), |settings| settings.ducking = Some(ducking));
    deck.pass(SECOND * 3);
    let heard = deck.heard();
    for (frame, wanted) in [(49, 0.4), (56, 0.25), (63, 0.1), (98, 0.1), (111, 0.25), (123, 0.4), (140, 0.4)]
    {
        assert!(
            (loudness(&heard, frame) - wanted).abs() < 0.03,
            "frame {frame}: {}",
            loudness(&heard, frame)
        );
    }
}

#[test]
fn places_are_told_when_they_are_heard() {
    let mut deck = Deck::new();
    deck.play(MUSIC, File::opus(440.0, 0.3, 200));
    deck.ask(MUSIC, TrackCommand::NotifyAt(MILLI * 1_500));
    deck.ask(MUSIC, TrackCommand::NotifyEvery(SECOND));
    deck.pass(MILLI * 1_700);
    deck.ask(MUSIC, TrackCommand::Seek(MILLI * 900));
    deck.pass(SECOND);
    let told = deck.told();
    let places: Vec<_> = told
        .iter()
        .filter_map(|action| if let Action::Reached(_, at) = action { Some(at.as_millis()) } else { None })
        .collect();
    assert_eq!(places, [1_000, 1_500, 1_000], "{told:?}");
}

#[test]
fn a_track_that_starts_elsewhere_or_paused_does_so() {
    let mut deck = Deck::new();
    deck.load(MUSIC, File::opus(440.0, 0.3, 100), |settings| {
        settings.start_at = SECOND;
        settings.start = Start::Paused;
    });
    deck.pass(SECOND);
    assert_eq!(deck.packets().len(), 0);
    deck.ask(MUSIC, TrackCommand::Resume);
    deck.pass(SECOND * 2);
    assert_eq!((deck.passed(), deck.packets().len()), (50, 55));
}
