//! Several who listen, several who speak.

use bytes::Bytes;

use super::*;
use crate::{
    hearing::{Content, Origin, Rate},
    id::Ssrc,
    jitter::Packet,
};

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const ANNA: UserId = UserId(1);
const BERT: UserId = UserId(2);
const CARL: UserId = UserId(3);

/// A call in which everybody speaks by the clock.
struct Call {
    start: Instant,
    hearing: Hearing,
    listeners: u64,
}

impl Call {
    fn new() -> Self {
        Self { start: start(), hearing: Hearing::new(GuildId(9)), listeners: 0 }
    }

    fn listen(&mut self, preset: Preset, format: Format, selection: Selection, shape: Shape) -> ListenId {
        self.listeners += 1;
        let id = ListenId(self.listeners);
        self.hearing.listen(id, preset, format, selection, shape);
        id
    }

    fn agent(&mut self, format: Format) -> ListenId {
        self.listen(Preset::Agent, format, Selection::all(), Shape::Frames)
    }

    /// The nth packet of a user comes, 20 ms after the one before; its SSRC is that of the user unless another is given.
    fn says(&mut self, user: UserId, ssrc: u32, nth: u32) {
        self.packet(user, ssrc, nth, [0xf8, 1, 2, 3].to_vec());
    }

    fn packet(&mut self, user: UserId, ssrc: u32, nth: u32, opus: Vec<u8>) {
        let arrived = self.start + ms(20 * u64::from(nth));
        let (sequence, timestamp) = (nth as u16, 960 * nth);
        let packet = Packet { sequence, timestamp, arrived, opus: Bytes::from(opus) };
        self.hearing.packet(VoicePacket { user, ssrc: Ssrc(ssrc), packet }, arrived);
    }

    fn poll(&mut self, milliseconds: u64) -> Vec<Action> {
        let now = self.start + ms(milliseconds);
        std::iter::from_fn(|| self.hearing.poll(now)).collect()
    }

    /// What one who listens is told until then.
    fn frames(&mut self, id: ListenId, milliseconds: u64) -> Vec<Heard> {
        let told = |action| match action {
            Action::Frame(to, heard) if to == id => vec![heard],
            Action::Tick(to, tick) if to == id => tick.frames,
            _ => Vec::new(),
        };
        self.poll(milliseconds).into_iter().flat_map(told).collect()
    }
}

#[test]
fn who_is_denied_is_told_to_nobody_and_others_are_told_to_all_who_want_them() {
    let mut call = Call::new();
    let all = call.agent(Format::Opus);
    let one = call.listen(Preset::Record, Format::Opus, Selection::only([BERT]), Shape::Frames);
    let rest = call.listen(Preset::Agent, Format::Opus, Selection::all().deny([ANNA, BERT]), Shape::Frames);
    (0..3).for_each(|nth| [ANNA, BERT].into_iter().for_each(|user| call.says(user, user.0 as u32, nth)));
    let told = call.poll(2_000);
    let count = |id, user| {
        told.iter()
            .filter(|action| matches!(action, Action::Frame(to, heard) if *to == id && heard.user == user))
            .count()
    };
    assert_eq!([all, one, rest].map(|id| (count(id, ANNA), count(id, BERT))), [(3, 3), (0, 3), (0, 0)]);
    let mut presets: Vec<_> = call.hearing.stats().iter().map(|stats| (stats.user.0, stats.preset)).collect();
    presets.sort_by_key(|(user, preset)| (*user, *preset != Preset::Agent));
    assert_eq!(presets, [(1, Preset::Agent), (2, Preset::Agent), (2, Preset::Record)]);
}

#[test]
fn while_somebody_with_priority_speaks_nobody_else_is_heard() {
    let mut call = Call::new();
    let selection = Selection::all().priority([BERT]);
    let id = call.listen(Preset::Agent, Format::Opus, selection, Shape::Frames);
    for nth in 0..100 {
        call.says(ANNA, 1, nth);
        if (20..40).contains(&nth) {
            call.says(BERT, 2, nth);
        }
    }
    let frames = call.frames(id, 2_000);
    let of = |user| {
        let theirs = frames.iter().filter(move |heard| heard.user == user);
        theirs.map(|heard| heard.time % (1 << 32) / 960)
    };
    assert_eq!(of(BERT).collect::<Vec<_>>(), (20..40).collect::<Vec<_>>());
    let silenced: Vec<u64> = (0..100).filter(|nth| !of(ANNA).any(|heard| heard == *nth)).collect();
    assert_eq!((silenced[0], silenced.last()), (21, Some(&99)), "nothing says that he has ended");
}

#[test]
fn a_long_loss_is_concealed_then_silent_and_its_end_is_made_of_what_follows() {
    let mut call = Call::new();
    let (opus, samples) = (call.agent(Format::Opus), call.agent(Format::Mono(Rate::Khz16)));
    call.says(ANNA, 1, 0);
    call.says(ANNA, 1, 21);
    let mut told = (Vec::new(), Vec::new());
    for action in call.poll(500) {
        match action {
            Action::Frame(id, heard) if id == opus => told.0.push(heard),
            Action::Frame(id, heard) if id == samples => told.1.push(heard),
            _ => {}
        }
    }
    let lost: Vec<_> =
        told.0.iter().map(|heard| (heard.content == Content::Lost { packets: 20 }, heard.samples)).collect();
    assert_eq!(lost, [(false, 960), (true, 20 * 960), (false, 960)]);
    let filled: Vec<_> = told
        .1
        .iter()
        .map(|heard| {
            let pcm = heard.pcm.as_ref().unwrap();
            assert_eq!(pcm.samples.len() as u32, heard.samples / 3);
            (pcm.origin, heard.samples / 960)
        })
        .collect();
    use Origin::{Concealed, Decoded, Silence};
    assert_eq!(filled, [(Decoded, 1), (Concealed, 5), (Silence, 14), (Concealed, 1), (Decoded, 1)]);
    assert!(told.1.windows(2).all(|pair| pair[1].time == pair[0].time + u64::from(pair[0].samples)));
    let counts = |format| {
        let stats = call.hearing.stats();
        let counts = stats.iter().find(|stats| stats.format == format).unwrap().counts;
        (counts.lost, counts.recovered, counts.concealed)
    };
    assert_eq!([Format::Opus, Format::Mono(Rate::Khz16)].map(counts), [(20, 0, 0), (20, 0, 6)]);
}

#[test]
fn each_source_is_a_stream_of_its_own_and_one_that_is_used_again_too() {
    let mut call = Call::new();
    let id = call.agent(Format::Opus);
    call.says(ANNA, 5, 0);
    call.says(ANNA, 6, 1);
    call.hearing.left(ANNA);
    call.says(CARL, 5, 2);
    call.says(CARL, 5, 3);
    call.says(ANNA, 7, 3);
    let heard: Vec<_> =
        call.frames(id, 100).iter().map(|heard| (heard.user, heard.ssrc.0, heard.stream)).collect();
    assert_eq!(heard, [(ANNA, 5, 1), (ANNA, 6, 2), (CARL, 5, 3), (CARL, 5, 3), (ANNA, 7, 4)]);
    let received: u64 = call.hearing.stats().iter().map(|stats| stats.counts.received).sum();
    assert_eq!(received, 5, "what those came to who left is not forgotten");
}

#[test]
fn a_user_who_leaves_and_the_end_of_a_call_leave_nothing_untold() {
    let mut call = Call::new();
    let id = call.listen(Preset::Record, Format::Opus, Selection::all(), Shape::Ticks);
    call.says(ANNA, 1, 0);
    call.says(ANNA, 1, 2);
    call.says(BERT, 2, 0);
    call.hearing.left(ANNA);
    call.hearing.finish();
    let frames = call.frames(id, 0);
    let of = |user| frames.iter().filter(|heard| heard.user == user).count();
    assert_eq!((of(ANNA), of(BERT)), (3, 1));
    assert_eq!(frames.iter().map(|heard| heard.samples).collect::<Vec<_>>(), [960; 4]);
}

#[test]
fn live_all_who_speak_are_in_one_tick_and_ticks_end_when_nobody_does() {
    let mut call = Call::new();
    let id = call.listen(Preset::Live, Format::Opus, Selection::all(), Shape::Ticks);
    let mut ticks = Vec::new();
    for nth in 0..50 {
        call.says(ANNA, 1, nth);
        call.says(BERT, 2, nth);
        for millisecond in [0, 10] {
            let told = call.poll(20 * u64::from(nth) + millisecond);
            ticks.extend(told.into_iter().filter_map(|action| match action {
                Action::Tick(to, tick) if to == id => Some(tick),
                _ => None,
            }));
        }
    }
    assert!(ticks.len() >= 44, "{} ticks", ticks.len());
    assert!(ticks.iter().all(|tick| tick.frames.len() == 2), "both in each");
    assert!(ticks.windows(2).all(|pair| pair[1].tick == pair[0].tick + 1));
    let frame = &ticks[10].frames[0];
    assert_eq!((frame.content.clone(), frame.samples), (Content::Even, 960));
    assert_eq!(frame.pcm.as_ref().map(|pcm| pcm.samples.len()), Some(1_920), "Opus cannot be had of it");
    let mut at = 1_000;
    while let Some(deadline) = call.hearing.deadline() {
        at = (deadline - call.start).as_millis() as u64;
        assert!(at < 3_000, "it goes on");
        call.poll(at);
    }
    assert!(at >= 1_000);
}

#[test]
fn strangers_without_number_are_forgotten_in_their_turn() {
    let mut call = Call::new();
    call.agent(Format::Opus);
    (0..1_000).for_each(|ssrc| call.says(ANNA, ssrc, 0));
    assert_eq!(call.hearing.groups[0].voices.len(), MAX_VOICES);
    assert_eq!(call.hearing.stats()[0].counts.received, 1_000);
}
