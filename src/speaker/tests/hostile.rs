//! Whatever happens to a speaker, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Fact {
    Attach(u64, u8),
    Supply(u64, Kind),
    Finish(u64),
    SourceLost(u64),
    Stop(Option<u64>),
    LinkUp,
    LinkDown,
    SpeakingSent,
    Pass(u64),
    Oversleep(u64),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Opus,
    Pcm,
    Junk,
}

fn fact() -> impl Strategy<Value = Fact> {
    let kind = prop_oneof![8 => Just(Kind::Opus), 1 => Just(Kind::Pcm), 1 => Just(Kind::Junk)];
    prop_oneof![
        3 => (0..4u64, 0..8u8).prop_map(|(id, flags)| Fact::Attach(id, flags)),
        12 => (0..4u64, kind).prop_map(|(id, kind)| Fact::Supply(id, kind)),
        1 => (0..4u64).prop_map(Fact::Finish),
        1 => (0..4u64).prop_map(Fact::SourceLost),
        1 => prop::option::of(0..4u64).prop_map(Fact::Stop),
        2 => Just(Fact::LinkUp),
        1 => Just(Fact::LinkDown),
        6 => Just(Fact::SpeakingSent),
        8 => (0..120u64).prop_map(Fact::Pass),
        1 => (0..300u64).prop_map(Fact::Oversleep),
    ]
}

/// Watches a speaker's orders for what must never happen.
#[derive(Default)]
struct Watch {
    linked: bool,
    /// Speaking was ordered, with flags, and sent.
    allowed: bool,
    asked: bool,
    playing: BTreeSet<TrackId>,
    last: Option<Instant>,
    voices: u64,
}

impl Watch {
    fn see(&mut self, action: &Action) {
        match action {
            Action::Seek { .. }
            | Action::Seeked(..)
            | Action::SeekRefused(..)
            | Action::Paused(_)
            | Action::Resumed(_)
            | Action::Looped(..)
            | Action::Reached(..) => {}
            Action::Speaking(flags) => {
                self.asked = !flags.is_empty();
                self.allowed &= self.asked;
            }
            Action::Voice(frame) => {
                assert!(self.linked && self.allowed, "a packet that Discord did not expect");
                if let Some(last) = self.last.replace(frame.due) {
                    assert!(frame.due > last);
                    assert_eq!((frame.due - last).as_micros() * 48, u128::from(frame.elapsed) * 1000);
                }
                self.voices += 1;
            }
            Action::Demand(..) => {}
            Action::Ended(id, _) => assert!(self.playing.remove(id), "{id:?} ended twice"),
            Action::Started(id) | Action::Stalled(id) | Action::Probe(id) => {
                assert!(self.playing.contains(id), "{id:?} is over");
            }
        }
    }
}

impl Story {
    fn happen(&mut self, fact: Fact, watch: &mut Watch) {
        match fact {
            Fact::Attach(id, flags) => {
                // Track ids are used once; a new one takes the place of an old one that is over.
                if watch.playing.insert(TrackId(id)) {
                    self.attach(TrackId(id), SpeakingFlags::from_bits(flags), 1.0);
                }
            }
            Fact::Supply(id, kind) => {
                let frame = match kind {
                    Kind::Opus => opus(7),
                    Kind::Pcm => Frame::Pcm(Pcm::default()),
                    Kind::Junk => Frame::Opus(Bytes::from_static(&[0xFF])),
                };
                self.supply(TrackId(id), frame);
            }
            Fact::Finish(id) => self.finish(TrackId(id)),
            Fact::SourceLost(id) => {
                self.playout.source_lost(TrackId(id));
                self.drive();
            }
            Fact::Stop(id) => self.stop(id.map(TrackId)),
            Fact::LinkUp => {
                (watch.linked, watch.allowed, watch.asked) = (true, false, false);
                self.link_up();
            }
            Fact::LinkDown => {
                (watch.linked, watch.allowed, watch.asked) = (false, false, false);
                self.link_down();
            }
            Fact::SpeakingSent => {
                // The gateway answers only what it was told.
                if watch.asked {
                    watch.allowed = true;
                    self.speaking_sent();
                }
            }
            Fact::Pass(millis) => self.pass(MILLI * millis as u32),
            Fact::Oversleep(millis) => self.oversleep(MILLI * millis as u32),
        }
        self.log().iter().for_each(|action| watch.see(action));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_happens_every_packet_is_allowed_and_on_time(
        facts in prop::collection::vec(fact(), 0..120)
    ) {
        let (mut story, mut watch) = (Story::begin(), Watch::default());
        story.gateway = Gateway::Slow;
        for fact in facts {
            story.happen(fact, &mut watch);
        }
        // Stopped, it comes to rest.
        story.happen(Fact::Stop(None), &mut watch);
        story.happen(Fact::Pass(200), &mut watch);
        prop_assert!(watch.playing.is_empty(), "never ended: {:?}", watch.playing);
        prop_assert_eq!(story.playout.deadline(), None);
        prop_assert_eq!(story.playout.counts().frames, watch.voices);
    }
}
