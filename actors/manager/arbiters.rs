//! Arbiters: the threads of a manager, each for one kind of work, and each started when it is first needed.

use std::time::Instant;

use actix::{Arbiter, ArbiterHandle};

use crate::actors::{
    call::{MediaSlot, Slots},
    driven::now,
    metronome,
};

/// The arbiters of one manager. Where the system gives no thread, the caller's arbiter has to do.
pub(super) struct Arbiters {
    /// How many media arbiters there may be; with none, all is done on the caller's.
    most: usize,
    epoch: Instant,
    media: Vec<Media>,
    /// Those of the caller's arbiter.
    slots: Slots,
    /// Where the manager itself runs, if it has an arbiter of its own.
    control: Option<Arbiter>,
    players: Lazy,
    source_actors: Lazy,
    crypto: Lazy,
}

/// One media arbiter, and how much it has to do.
struct Media {
    arbiter: Arbiter,
    slots: Slots,
}

/// An arbiter that may not be needed.
#[derive(Default)]
struct Lazy(Option<Arbiter>);

impl Arbiters {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            epoch: now(),
            media: Vec::new(),
            slots: Slots::default(),
            players: Lazy::default(),
            source_actors: Lazy::default(),
            control: None,
            crypto: Lazy::default(),
        }
    }

    /// The manager runs on this arbiter, which ends with the others.
    pub(super) fn own_control(&mut self, arbiter: Arbiter) {
        self.control = Some(arbiter);
    }

    /// Whether the manager runs on an arbiter of its own.
    pub(super) fn has_control(&self) -> bool {
        self.control.is_some()
    }

    /// A slot for a call: on the media arbiter with the fewest calls.
    pub(super) fn media_slot(&mut self) -> MediaSlot {
        if self.media.len() < self.most
            && let Some(arbiter) = started()
        {
            arbiter.spawn_fn(metronome::tune_thread);
            self.media.push(Media { arbiter, slots: Slots::default() });
        }
        match self.media.iter().min_by_key(|media| media.slots.taken()) {
            Some(least) => MediaSlot::new(Some(least.arbiter.handle()), self.epoch, &least.slots),
            None => MediaSlot::new(None, self.epoch, &self.slots),
        }
    }

    /// For [`Player`](crate::actors::Player)s, which never block it.
    pub(super) fn players(&mut self) -> Option<ArbiterHandle> {
        self.players.handle(self.most)
    }

    /// For the user's own source actors, which may.
    pub(super) fn source_actors(&mut self) -> Option<ArbiterHandle> {
        self.source_actors.handle(self.most)
    }

    /// For MLS, which takes milliseconds that neither packets nor heartbeats have.
    pub(super) fn crypto(&mut self) -> Option<ArbiterHandle> {
        self.crypto.handle(self.most)
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        let lazy = [&self.players, &self.source_actors, &self.crypto];
        let lazy = lazy.into_iter().filter_map(|Lazy(arbiter)| arbiter.as_ref());
        // The control arbiter last: this runs on it.
        for arbiter in self.media.iter().map(|media| &media.arbiter).chain(lazy).chain(&self.control) {
            arbiter.stop();
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::audio::frame::FRAME;

    #[test]
    fn calls_that_come_and_go_leave_the_others_spread_and_the_arbiters_evenly_loaded() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(2);
            let mut slots: Vec<MediaSlot> = (0..32).map(|_| arbiters.media_slot()).collect();
            for _ in 0..1_000 {
                // Of each arbiter the same number, so that both have room again.
                slots.drain(..16);
                slots.extend((0..16).map(|_| arbiters.media_slot()));
            }
            assert_eq!(arbiters.media.iter().map(|media| media.slots.taken()).collect::<Vec<_>>(), [16, 16]);
            let mut offsets: Vec<_> = slots.iter().map(|slot| slot.phase().offset).collect();
            offsets.sort();
            let gaps = offsets.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max() <= Some(FRAME / 8), "{offsets:?}");
            arbiters.stop();
        });
    }

    #[test]
    fn the_calls_of_every_arbiter_are_spread_over_the_20_ms() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(2);
            let mut phases: BTreeMap<Option<String>, Vec<_>> = BTreeMap::new();
            let slots: Vec<MediaSlot> = (0..32).map(|_| arbiters.media_slot()).collect();
            for slot in &slots {
                let arbiter = slot.arbiter.as_ref().map(|arbiter| format!("{arbiter:?}"));
                phases.entry(arbiter).or_default().push(slot.phase().offset);
            }
            assert_eq!(phases.len(), 2);
            for mut offsets in phases.into_values() {
                assert_eq!(offsets.len(), 16);
                offsets.sort();
                let gaps = offsets.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(gaps.max() <= Some(FRAME / 8), "{offsets:?}");
            }
            arbiters.stop();
        });
    }

    /// How many calls each media arbiter has.
    fn calls(arbiters: &Arbiters) -> Vec<usize> {
        arbiters.media.iter().map(|media| media.slots.taken()).collect()
    }

    #[test]
    fn a_call_goes_where_others_have_ended() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(2);
            let mut slots: Vec<MediaSlot> = (0..6).map(|_| arbiters.media_slot()).collect();
            assert_eq!(calls(&arbiters), [3, 3]);
            // Every other call is on the first arbiter.
            let ended = [0, 1, 2].map(|at| slots.remove(at));
            drop(ended);
            assert_eq!(calls(&arbiters), [0, 3]);
            slots.extend((0..3).map(|_| arbiters.media_slot()));
            assert_eq!(calls(&arbiters), [3, 3]);
            drop(slots);
            assert_eq!(calls(&arbiters), [0, 0]);
            arbiters.stop();
        });
    }

    #[test]
    fn without_media_arbiters_nothing_has_a_thread_of_its_own() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(0);
            let slots = [arbiters.media_slot(), arbiters.media_slot()];
            assert!(slots.iter().all(|slot| slot.arbiter.is_none()));
            assert_ne!(slots[0].phase().offset, slots[1].phase().offset);
            assert!(arbiters.players().is_none() && arbiters.source_actors().is_none());
            assert!(arbiters.crypto().is_none());
        });
    }
}
