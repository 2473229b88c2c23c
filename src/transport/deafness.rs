//! DeafAlarm: notices that others speak and nothing of it is understood.
//!
//! ```text
//!          somebody is marked as speaking,          3 s               3 s more
//!  Hearing ─────────────────────────────▶ Doubting ────▶ first alarm ─────────▶ second alarm
//!     ▲    or packets come                    │               │                     │
//!     └───────────────────────────────────────┴───────────────┴─────────────────────┘
//!                              a packet of speech opens
//! ```

use std::time::{Duration, Instant};

/// What shows that others speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deafness {
    /// Voice packets come, and none opens.
    Undecipherable,
    /// Somebody is marked as speaking, and no voice packet comes.
    NothingComes,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeafnessRemedy {
    /// Join the group anew: its keys may be wrong.
    RejoinGroup,
    /// Make a new voice session.
    RejoinCall,
}

/// The machine of one voice session.
#[derive(Debug, Default)]
pub struct DeafAlarm {
    listens: bool,
    doubt: Option<Doubt>,
    /// Whether the first alarm was raised, and nothing opened since.
    second: bool,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    packets: u32,
    is_marked: bool,
}

impl DeafAlarm {
    /// Somebody wants to hear, or nobody does.
    pub fn listen(&mut self, listens: bool) {
        self.listens = listens;
        self.opened();
    }

    /// Somebody is marked as speaking.
    pub fn marked(&mut self, now: Instant) {
        if let Some(doubt) = self.doubt(now) {
            doubt.is_marked = true;
        }
    }

    /// A voice packet came that did not open.
    pub fn packet(&mut self, now: Instant) {
        if let Some(doubt) = self.doubt(now) {
            doubt.packets = doubt.packets.saturating_add(1);
        }
    }

    /// A packet opened. Where it is silence that says nothing of keys; but something comes.
    pub fn came(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.is_marked = false;
        }
    }

    /// A packet of speech opened.
    pub fn opened(&mut self) {
        self.doubt = None;
        self.second = false;
    }

    /// Says that it is time for an alarm, what shows it, and what is to be done; nothing where only a mark shows it, which is also
    /// set for somebody who keeps silent.
    pub fn poll(&mut self, now: Instant) -> Option<(Deafness, Option<DeafnessRemedy>)> {
        let doubt = self.doubt.as_mut()?;
        if doubt.due() > now {
            return None;
        }
        // A stray packet is no speech, and a mark is old by the second time.
        if doubt.packets < MIN_PACKETS {
            let marked = self.doubt.take().is_some_and(|doubt| doubt.is_marked && doubt.packets == 0);
            return marked.then_some((Deafness::NothingComes, None));
        }
        *doubt = Doubt { since: now, packets: 0, is_marked: false };
        if !std::mem::replace(&mut self.second, true) {
            return Some((Deafness::Undecipherable, Some(DeafnessRemedy::RejoinGroup)));
        }
        self.opened();
        Some((Deafness::Undecipherable, Some(DeafnessRemedy::RejoinCall)))
    }

    /// When to poll again.
    pub fn deadline(&self) -> Option<Instant> {
        self.doubt.map(|doubt| doubt.due())
    }

    fn doubt(&mut self, now: Instant) -> Option<&mut Doubt> {
        self.listens.then(|| self.doubt.get_or_insert(Doubt { since: now, packets: 0, is_marked: false }))
    }
}

impl Doubt {
    fn due(&self) -> Instant {
        self.since + PATIENCE
    }
}

/// How long others may speak unheard.
const PATIENCE: Duration = Duration::from_secs(3);
/// Packets that are more than strays: half a second of speech.
const MIN_PACKETS: u32 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    /// The alarms of a session to which these things happen, every 20 ms for ten seconds.
    fn alarms(
        mut happens: impl FnMut(&mut DeafAlarm, u64, Instant),
    ) -> Vec<(u64, Deafness, Option<DeafnessRemedy>)> {
        let (start, mut alarm, mut alarms) = (start(), DeafAlarm::default(), Vec::new());
        alarm.listen(true);
        for at in (0..10_000).step_by(20) {
            let now = start + Duration::from_millis(at);
            happens(&mut alarm, at, now);
            let due = alarm.deadline().is_some_and(|deadline| deadline <= now);
            let told = alarm.poll(now);
            assert!(due || told.is_none());
            alarms.extend(told.map(|(deafness, remedy)| (at, deafness, remedy)));
        }
        alarms
    }

    use Deafness::{NothingComes, Undecipherable};
    use DeafnessRemedy::{RejoinCall, RejoinGroup};

    #[test]
    fn packets_that_never_open_raise_the_alarm_and_then_a_graver_one() {
        let told = alarms(|alarm, _, now| alarm.packet(now));
        assert_eq!(
            told[..2],
            [(3_000, Undecipherable, Some(RejoinGroup)), (6_000, Undecipherable, Some(RejoinCall))]
        );
    }

    #[test]
    fn one_packet_of_speech_that_opens_calms_it() {
        let told = alarms(|alarm, at, now| {
            alarm.packet(now);
            if at % 2_500 == 0 {
                alarm.opened();
            }
        });
        assert_eq!(told, []);
    }

    #[test]
    fn who_is_marked_as_speaking_and_is_not_heard_raises_it_once() {
        let mark = |alarm: &mut DeafAlarm, at, now| {
            if at == 1_000 {
                alarm.marked(now)
            }
        };
        assert_eq!(alarms(mark), [(4_000, NothingComes, None)]);
        let heard = |alarm: &mut DeafAlarm, at, now| {
            mark(alarm, at, now);
            if at == 2_000 {
                alarm.opened();
            }
        };
        assert_eq!(alarms(heard), []);
        let silence = |alarm: &mut DeafAlarm, at, now| {
            mark(alarm, at, now);
            alarm.came();
        };
        assert_eq!(alarms(silence), []);
    }

    #[test]
    fn silence_does_not_calm_it() {
        let told = alarms(|alarm, _, now| {
            alarm.packet(now);
            alarm.came();
        });
        assert_eq!(told[0], (3_000, Undecipherable, Some(RejoinGroup)));
    }

    #[test]
    fn stray_packets_and_what_nobody_listens_to_are_no_reason() {
        assert_eq!(
            alarms(|alarm, at, now| if at % 200 == 0 {
                alarm.packet(now)
            }),
            []
        );
        let told = alarms(|alarm, _, now| {
            alarm.listen(false);
            alarm.packet(now);
        });
        assert_eq!(told, []);
    }
}
