//! Arbiters: the threads of a manager, each for one kind of work, and each started when it is first needed.

use std::{collections::VecDeque, time::Instant};

use actix::{Arbiter, ArbiterHandle};

use super::load::Load;
use crate::{
    actors::{
        call::{JoinError, MediaSlot, Slots},
        config::{Admission, MediaPriority},
        driven::now,
        metronome,
    },
    audio::opus::EncoderSettings,
};

/// The arbiters of one manager. Where the system gives no thread, the caller's arbiter has to do.
pub(super) struct Arbiters {
    /// How many media arbiters there may be; with none, all is done on the caller's.
    most: usize,
    priority: MediaPriority,
    epoch: Instant,
    media: Vec<Media>,
    /// Those of the caller's arbiter.
    slots: Slots,
    /// Where the manager itself runs, if it has an arbiter of its own.
    control: Option<Arbiter>,
    players: [Lazy; 2],
    source_actors: Lazy,
    crypto: Lazy,
    /// For what is heard; of none if there is no media arbiter either.
    hearing: VecDeque<Lazy>,
}

/// One media arbiter, and how much it has to do.
struct Media {
    arbiter: Arbiter,
    slots: Slots,
    load: Load,
}

/// An arbiter that may not be needed.
#[derive(Default)]
struct Lazy(Option<Arbiter>);

impl Arbiters {
    pub(super) fn new(most: usize, priority: MediaPriority) -> Self {
        Self {
            most,
            priority,
            epoch: now(),
            media: Vec::new(),
            slots: Slots::default(),
            players: Default::default(),
            source_actors: Lazy::default(),
            control: None,
            crypto: Lazy::default(),
            hearing: VecDeque::from([Lazy::default()]),
        }
    }

    /// With so many arbiters for what is heard, one at least.
    pub(super) fn hearing_on(self, count: usize) -> Self {
        Self { hearing: (0..count.max(1)).map(|_| Lazy::default()).collect(), ..self }
    }

    /// Everything on the caller's arbiter.
    pub(super) fn none() -> Self {
        Self::new(0, MediaPriority::Normal)
    }

    /// The manager runs on this arbiter, which ends with the others.
    pub(super) fn own_control(&mut self, arbiter: Arbiter) {
        self.control = Some(arbiter);
    }

    /// Whether the manager runs on an arbiter of its own.
    pub(super) fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// A slot for a call: on the first media arbiter with room, so that one turn serves many; on another one if there is none.
    pub(super) fn media_slot(&mut self) -> MediaSlot {
        let has_room = self.media.iter().any(|media| media.expected_load() < FULL);
        if !has_room
            && self.media.len() < self.most
            && let Some(arbiter) = started()
        {
            let priority = self.priority;
            arbiter.spawn_fn(move || metronome::tune_thread(priority));
            let load = Load::of(&arbiter.handle(), self.media.len());
            self.media.push(Media { arbiter, slots: Slots::default(), load });
        }
        match self.media_for_next() {
            Some(media) => MediaSlot::new(Some(media.arbiter.handle()), self.epoch, &media.slots),
            None => MediaSlot::new(None, self.epoch, &self.slots),
        }
    }

    /// How a call that begins now is to encode.
    ///
    /// # Errors
    ///
    /// [`JoinError::Overloaded`] where it is not let in.
    pub(super) fn admit(
        &self,
        admission: Admission,
        encoder: &EncoderSettings,
    ) -> Result<EncoderSettings, JoinError> {
        let load = if self.media.len() < self.most {
            0.0
        } else {
            self.media.iter().map(|media| media.load.share()).reduce(f32::min).unwrap_or(0.0)
        };
        match admission {
            Admission::Refuse { above } if load > above => {
                Err(JoinError::Overloaded { per_cent: (load * 100.0) as u32 })
            }
            Admission::Degrade { above, complexity } if load > above => {
                Ok(EncoderSettings { complexity, ..encoder.clone() })
            }
            _ => Ok(encoder.clone()),
        }
    }

    fn media_for_next(&self) -> Option<&Media> {
        let least_loaded =
            || self.media.iter().min_by(|one, other| one.expected_load().total_cmp(&other.expected_load()));
        self.media.iter().find(|media| media.expected_load() < FULL).or_else(least_loaded)
    }

    /// For a [`Player`](crate::actors::Player): they take turns on two arbiters, which they do not block.
    pub(super) fn players(&mut self) -> Option<ArbiterHandle> {
        self.players.rotate_left(1);
        self.players[0].handle(self.most)
    }

    /// For the user's own source actors, which may.
    pub(super) fn source_actors(&mut self) -> Option<ArbiterHandle> {
        self.source_actors.handle(self.most)
    }

    /// For MLS, which takes milliseconds that neither packets nor heartbeats have.
    pub(super) fn crypto(&mut self) -> Option<ArbiterHandle> {
        self.crypto.handle(self.most)
    }

    /// For decoding what is heard: calls take turns on these arbiters.
    pub(super) fn hearing(&mut self) -> Option<ArbiterHandle> {
        self.hearing.rotate_left(1);
        let most = self.most;
        self.hearing.front_mut().and_then(|arbiter| arbiter.handle(most))
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        let lazy = self.players.iter().chain([&self.source_actors, &self.crypto]).chain(&self.hearing);
        let lazy = lazy.filter_map(|Lazy(arbiter)| arbiter.as_ref());
        // The control arbiter last: this runs on it.
        for arbiter in self.media.iter().map(|media| &media.arbiter).chain(lazy).chain(&self.control) {
            arbiter.stop();
        }
    }
}

impl Media {
    /// How busy it will be, in cores, if calls that are silent begin to speak.
    fn expected_load(&self) -> f32 {
        self.load.share() + RESERVED * self.slots.taken() as f32
    }
}

impl Lazy {
    fn handle(&mut self, most: usize) -> Option<ArbiterHandle> {
        if most > 0 && self.0.is_none() {
            self.0 = started();
        }
        self.0.as_ref().map(Arbiter::handle)
    }
}

/// An arbiter on a thread of its own, if the system gives one.
pub(super) fn started() -> Option<Arbiter> {
    Arbiter::try_new().inspect_err(|error| tracing::warn!(%error, "no thread for an arbiter")).ok()
}

/// How much of a core is kept for each call, beside what the calls of an arbiter use now: those that are silent may begin to
/// speak, all at once.
const RESERVED: f32 = 0.005;
/// The expected load above which an arbiter takes no more calls, unless all are above it.
const FULL: f32 = 0.5;

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    /// How many calls each media arbiter has.
    fn calls(arbiters: &Arbiters) -> Vec<usize> {
        arbiters.media.iter().map(|media| media.slots.taken()).collect()
    }

    /// How many of these calls send at each offset in the 20 ms.
    fn calls_at(slots: &[MediaSlot]) -> BTreeMap<Duration, usize> {
        slots.iter().fold(BTreeMap::new(), |mut calls, slot| {
            *calls.entry(slot.phase().offset).or_default() += 1;
            calls
        })
    }

    #[test]
    fn calls_share_a_turn_until_it_is_worth_while_and_are_then_spread_evenly_also_after_others_have_ended() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::none();
            let mut slots: Vec<MediaSlot> = (0..8).map(|_| arbiters.media_slot()).collect();
            assert_eq!(calls_at(&slots).len(), 1);
            slots.extend((8..40).map(|_| arbiters.media_slot()));
            assert_eq!(calls_at(&slots).into_values().collect::<Vec<_>>(), [8; 5]);
            let offsets: Vec<_> = calls_at(&slots).into_keys().collect();
            assert!(
                offsets.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(2)),
                "{offsets:?}"
            );
            slots.extend((40..400).map(|_| arbiters.media_slot()));
            assert_eq!(calls_at(&slots).into_values().collect::<Vec<_>>(), [20; 20]);
            for _ in 0..1_000 {
                slots.drain(..50);
                slots.extend((0..50).map(|_| arbiters.media_slot()));
            }
            assert_eq!(calls_at(&slots).into_values().collect::<Vec<_>>(), [20; 20]);
        });
    }

    #[test]
    fn one_arbiter_is_filled_after_another_as_their_load_allows_and_then_the_least_loaded_takes_the_next() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(2, MediaPriority::Normal);
            let mut slots: Vec<MediaSlot> = (0..100).map(|_| arbiters.media_slot()).collect();
            assert_eq!(calls(&arbiters), [100]);
            slots.extend((0..50).map(|_| arbiters.media_slot()));
            assert_eq!(calls(&arbiters), [100, 50]);
            slots.extend((0..250).map(|_| arbiters.media_slot()));
            assert_eq!(calls(&arbiters), [200, 200]);
            arbiters.media[0].load.set(0.5);
            slots.extend((0..100).map(|_| arbiters.media_slot()));
            assert_eq!(calls(&arbiters), [200, 300]);
            // Calls that have ended leave room.
            slots.drain(..150);
            arbiters.media[0].load.set(0.0);
            slots.push(arbiters.media_slot());
            assert_eq!(calls(&arbiters), [101, 250]);
            drop(slots);
            assert_eq!(calls(&arbiters), [0, 0]);
            arbiters.stop();
        });
    }

    #[test]
    fn who_begins_while_all_arbiters_are_busy_is_refused_or_degraded_as_is_configured() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(2, MediaPriority::Normal);
            let slots: Vec<MediaSlot> = (0..100).map(|_| arbiters.media_slot()).collect();
            let encoder = EncoderSettings::default();
            let refuse = Admission::Refuse { above: 0.7 };
            arbiters.media[0].load.set(0.9);
            assert_eq!(
                arbiters.admit(refuse, &encoder),
                Ok(encoder.clone()),
                "another arbiter can be started"
            );
            let more = arbiters.media_slot();
            arbiters.media[1].load.set(0.7);
            assert_eq!(arbiters.admit(refuse, &encoder), Ok(encoder.clone()));
            arbiters.media[1].load.set(0.75);
            assert_eq!(arbiters.admit(refuse, &encoder), Err(JoinError::Overloaded { per_cent: 75 }));
            assert_eq!(arbiters.admit(Admission::All, &encoder), Ok(encoder.clone()));
            let degrade = Admission::Degrade { above: 0.7, complexity: 1 };
            assert_eq!(arbiters.admit(degrade, &encoder).map(|encoder| encoder.complexity), Ok(1));
            drop((slots, more));
            arbiters.stop();
        });
    }

    #[test]
    fn the_load_of_a_thread_is_what_it_uses() {
        actix::System::new().block_on(async {
            let arbiter = started().expect("a thread");
            let load = Load::of(&arbiter.handle(), 0);
            assert_eq!(load.share(), 0.0);
            arbiter.spawn(async {
                loop {
                    std::hint::black_box((0..100_000_u64).sum::<u64>());
                    tokio::task::yield_now().await;
                }
            });
            let measured = async {
                while load.share() == 0.0 {
                    actix::clock::sleep(Duration::from_millis(50)).await;
                }
            };
            actix::clock::timeout(Duration::from_secs(60), measured).await.expect("it is measured");
            assert!(load.share() <= 1.1, "{load:?}");
            arbiter.stop();
        });
    }

    #[test]
    fn without_media_arbiters_nothing_has_a_thread_of_its_own() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::none();
            assert!(arbiters.media_slot().arbiter.is_none());
            assert!(arbiters.players().is_none() && arbiters.source_actors().is_none());
            assert!(arbiters.crypto().is_none());
        });
    }
}
