//! Arbiters: the threads of a manager, each for one kind of work, and each started when it is first needed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use actix::{Arbiter, ArbiterHandle};

use crate::actors::{call::Place, metronome, now};

/// The arbiters of one manager. Where the system gives no thread, the caller's arbiter has to do.
pub(super) struct Arbiters {
    /// How many media arbiters there may be; with none, all is done on the caller's.
    most: usize,
    epoch: Instant,
    media: Vec<Media>,
    /// How many calls the caller's arbiter has had.
    slots: u32,
    players: Lazy,
    guests: Lazy,
    crypto: Lazy,
}

/// One media arbiter, how much it has to do, and how many calls it has ever had.
struct Media {
    arbiter: Arbiter,
    calls: Arc<AtomicUsize>,
    slots: u32,
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
            slots: 0,
            players: Lazy::default(),
            guests: Lazy::default(),
            crypto: Lazy::default(),
        }
    }

    /// A place for a call: on the media arbiter with the fewest.
    pub(super) fn place(&mut self) -> Place {
        if self.media.len() < self.most
            && let Some(arbiter) = started()
        {
            arbiter.spawn_fn(metronome::tune_thread);
            self.media.push(Media { arbiter, calls: Arc::default(), slots: 0 });
        }
        let least = self.media.iter_mut().min_by_key(|media| media.calls.load(Ordering::Relaxed));
        let Some(least) = least else {
            self.slots = self.slots.wrapping_add(1);
            return Place { arbiter: None, calls: Arc::default(), epoch: self.epoch, slot: self.slots };
        };
        least.slots = least.slots.wrapping_add(1);
        let (arbiter, calls) = (Some(least.arbiter.handle()), Arc::clone(&least.calls));
        Place { arbiter, calls, epoch: self.epoch, slot: least.slots }
    }

    /// For [`Player`](crate::actors::Player)s, which never block it.
    pub(super) fn players(&mut self) -> Option<ArbiterHandle> {
        self.players.handle(self.most)
    }

    /// For the user's own source actors, which may.
    pub(super) fn guests(&mut self) -> Option<ArbiterHandle> {
        self.guests.handle(self.most)
    }

    /// For MLS, which takes milliseconds that neither packets nor heartbeats have.
    pub(super) fn crypto(&mut self) -> Option<ArbiterHandle> {
        self.crypto.handle(self.most)
    }

    /// Ends the threads.
    pub(super) fn stop(&self) {
        let lazy = [&self.players, &self.guests, &self.crypto];
        let lazy = lazy.into_iter().filter_map(|Lazy(arbiter)| arbiter.as_ref());
        for arbiter in self.media.iter().map(|media| &media.arbiter).chain(lazy) {
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

fn started() -> Option<Arbiter> {
    Arbiter::try_new().inspect_err(|error| tracing::warn!(%error, "no thread for an arbiter")).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::audio::frame::FRAME;

    #[test]
    fn the_calls_of_every_arbiter_are_spread_over_the_20_ms() {
        actix::System::new().block_on(async {
            let mut arbiters = Arbiters::new(2);
            let mut phases: BTreeMap<usize, Vec<_>> = BTreeMap::new();
            for _ in 0..32 {
                let place = arbiters.place();
                place.calls.fetch_add(1, Ordering::Relaxed);
                phases.entry(Arc::as_ptr(&place.calls) as usize).or_default().push(place.phase().offset);
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
}
