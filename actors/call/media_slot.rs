//! MediaSlot: where the media actors of a call run, and when within each 20 ms.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use actix::{Actor, Addr, ArbiterHandle, Context};

use crate::{actors::metronome::Pace, audio::frame::FRAME, speaker::Phase};

/// The slots of one arbiter that calls have taken.
#[derive(Clone, Debug, Default)]
pub(in crate::actors) struct Slots(Arc<Mutex<BTreeSet<u32>>>);

impl Slots {
    /// How many are taken.
    pub(in crate::actors) fn taken(&self) -> usize {
        self.lock(|slots| slots.len())
    }

    /// Takes the first that is free: those of calls that are over serve again.
    fn take(&self) -> u32 {
        self.lock(|slots| {
            let free = (1..).find(|slot| !slots.contains(slot)).expect("there are more slots than calls");
            slots.insert(free);
            free
        })
    }

    fn lock<R>(&self, look: impl FnOnce(&mut BTreeSet<u32>) -> R) -> R {
        // A set of numbers is never left half changed.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the media actors of a call run, and when within each 20 ms.
#[derive(Debug)]
pub(in crate::actors) struct MediaSlot {
    pub(in crate::actors) arbiter: Option<ArbiterHandle>,
    epoch: Instant,
    slot: u32,
    slots: Slots,
}

impl Drop for MediaSlot {
    fn drop(&mut self) {
        self.slots.lock(|slots| slots.remove(&self.slot));
    }
}

impl MediaSlot {
    /// A slot of this arbiter, or of the caller's own.
    pub(in crate::actors) fn new(arbiter: Option<ArbiterHandle>, epoch: Instant, slots: &Slots) -> Self {
        Self { arbiter, epoch, slot: slots.take(), slots: slots.clone() }
    }

    pub(super) fn start<A: Actor<Context = Context<A>>>(
        &self,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        match &self.arbiter {
            Some(arbiter) => A::start_in_arbiter(arbiter, |_| make()),
            None => A::create(|_| make()),
        }
    }

    pub(super) fn pace(&self) -> Pace {
        if self.arbiter.is_some() { Pace::Precise } else { Pace::Pausable }
    }

    /// Slots are taken so that any number of calls is spread evenly: each falls into the largest gap.
    pub(in crate::actors) fn phase(&self) -> Phase {
        let share = f64::from(self.slot.reverse_bits()) / f64::from(u32::MAX);
        Phase { epoch: self.epoch, offset: FRAME.mul_f64(share.min(0.999)) }
    }
}
