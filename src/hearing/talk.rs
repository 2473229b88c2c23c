//! Talk: who speaks, as the packets show it.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    id::{Ssrc, UserId},
    jitter,
};

/// Somebody began or ceased to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Talk {
    /// A user's first word in this call; [`Self::Started`] follows.
    FirstWord(UserId),
    /// A user began to speak.
    Started {
        /// Who.
        user: UserId,
        /// The source of its packets.
        ssrc: Ssrc,
    },
    /// A user ceased to speak: it sent silence, or nothing more.
    Stopped {
        /// Who.
        user: UserId,
    },
}

/// Everybody whose packets came.
#[derive(Default)]
pub(super) struct Talks {
    users: HashMap<UserId, Talking>,
    told: VecDeque<Talk>,
}

/// One user.
struct Talking {
    /// When it is taken to have ceased, while it speaks.
    until: Option<Instant>,
    /// Packets of silence since it spoke.
    silent: u32,
}

impl Talks {
    pub(super) fn packet(&mut self, user: UserId, ssrc: Ssrc, opus: &[u8], now: Instant) {
        if !self.users.contains_key(&user) {
            if jitter::is_silence(opus) || self.users.len() >= MAX_USERS {
                return;
            }
            self.told.push_back(Talk::FirstWord(user));
        }
        let talking = self.users.entry(user).or_insert(Talking { until: None, silent: 0 });
        if jitter::is_silence(opus) {
            talking.silent += 1;
            if talking.silent == SILENT_PACKETS && talking.until.take().is_some() {
                self.told.push_back(Talk::Stopped { user });
            }
            return;
        }
        talking.silent = 0;
        if talking.until.replace(now + MAX_GAP).is_none() {
            self.told.push_back(Talk::Started { user, ssrc });
        }
    }

    pub(super) fn left(&mut self, user: UserId) {
        if self.users.remove(&user).is_some_and(|talking| talking.until.is_some()) {
            self.told.push_back(Talk::Stopped { user });
        }
    }

    pub(super) fn speaks(&self, user: UserId) -> bool {
        self.users.get(&user).is_some_and(|talking| talking.until.is_some())
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<Talk> {
        if self.told.is_empty() {
            for (user, talking) in &mut self.users {
                if talking.until.take_if(|until| *until <= now).is_some() {
                    self.told.push_back(Talk::Stopped { user: *user });
                }
            }
        }
        self.told.pop_front()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.users.values().filter_map(|talking| talking.until).min()
    }
}

/// Users who are remembered.
const MAX_USERS: usize = 4_096;
/// Packets of silence in a row that end speech: one may be a pause of DTX.
const SILENT_PACKETS: u32 = 2;
/// How long a speaker may send nothing: DTX sends every 400 ms.
const MAX_GAP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    const USER: UserId = UserId(7);
    const SPEECH: [u8; 4] = [0xf8, 1, 2, 3];
    const SILENCE: [u8; 3] = crate::audio::frame::SILENCE;

    fn told(talks: &mut Talks, now: Instant) -> Vec<Talk> {
        std::iter::from_fn(|| talks.poll(now)).collect()
    }

    #[test]
    fn speech_starts_with_its_first_packet_and_stops_with_silence_or_with_nothing() {
        let (mut talks, start) = (Talks::default(), start());
        let ms = |milliseconds| start + Duration::from_millis(milliseconds);
        let started = Talk::Started { user: USER, ssrc: Ssrc(1) };
        talks.packet(USER, Ssrc(1), &SILENCE, ms(0));
        assert_eq!(told(&mut talks, ms(0)), []);
        talks.packet(USER, Ssrc(1), &SPEECH, ms(20));
        talks.packet(USER, Ssrc(1), &SPEECH, ms(40));
        assert_eq!(told(&mut talks, ms(40)), [Talk::FirstWord(USER), started]);
        talks.packet(USER, Ssrc(1), &SILENCE, ms(60));
        assert_eq!((told(&mut talks, ms(60)), talks.speaks(USER)), (vec![], true));
        talks.packet(USER, Ssrc(1), &SILENCE, ms(80));
        talks.packet(USER, Ssrc(1), &SILENCE, ms(100));
        assert_eq!(
            (told(&mut talks, ms(100)), talks.speaks(USER)),
            (vec![Talk::Stopped { user: USER }], false)
        );
        talks.packet(USER, Ssrc(1), &SPEECH, ms(200));
        assert_eq!(told(&mut talks, ms(699)), [started]);
        assert_eq!(talks.deadline(), Some(ms(700)));
        assert_eq!(told(&mut talks, ms(700)), [Talk::Stopped { user: USER }]);
    }

    #[test]
    fn who_leaves_in_mid_word_ceases_to_speak() {
        let (mut talks, start) = (Talks::default(), start());
        talks.packet(USER, Ssrc(1), &SPEECH, start);
        talks.left(USER);
        assert_eq!(told(&mut talks, start).last(), Some(&Talk::Stopped { user: USER }));
    }
}
