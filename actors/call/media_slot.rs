//! MediaSlot: where the media actors of a call run, and when within each 20 ms.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::{Actor, Addr, ArbiterHandle, Context};

use crate::{actors::metronome::Pace, audio::frame::FRAME, speaker::Phase};

/// How many calls of one arbiter send in each of the slots that the 20 ms are divided into. What is due in a slot is sent in
/// one turn of the arbiter.
#[derive(Clone, Debug, Default)]
pub(in crate::actors) struct Slots(Arc<Mutex<[usize; SLOTS]>>);

impl Slots {
    /// How many calls there are.
    pub(in crate::actors) fn taken(&self) -> usize {
        self.lock(|slots| slots.iter().sum())
    }

    /// Fills one slot after another, and once each has what makes a turn worth while, all alike.
    fn take(&self) -> usize {
        self.lock(|slots| {
            let spread = (1..=SLOTS).map(|nth| nth * STRIDE % SLOTS);
            let worth_while = spread.clone().find(|&slot| slots[slot] < WORTH_A_TURN);
            let least = || spread.min_by_key(|&slot| slots[slot]).expect("there are slots");
            let slot = worth_while.unwrap_or_else(least);
            slots[slot] += 1;
            slot
        })
    }

    fn lock<R>(&self, look: impl FnOnce(&mut [usize; SLOTS]) -> R) -> R {
        // Numbers are never left half changed.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the media actors of a call run, and when within each 20 ms.
#[derive(Debug)]
pub(in crate::actors) struct MediaSlot {
    pub(in crate::actors) arbiter: Option<ArbiterHandle>,
    epoch: Instant,
    slot: usize,
    slots: Slots,
}

impl Drop for MediaSlot {
    fn drop(&mut self) {
        self.slots.lock(|slots| slots[self.slot] -= 1);
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

    /// When within each 20 ms the call sends.
    pub(in crate::actors) fn phase(&self) -> Phase {
        Phase { epoch: self.epoch, offset: SLOT * self.slot as u32 }
    }
}

/// What a slot lasts.
const SLOT: Duration = Duration::from_millis(1);
const SLOTS: usize = (FRAME.as_millis() / SLOT.as_millis()) as usize;
/// Slots that are filled one after another lie this far apart, so that the load is spread also while they are few.
const STRIDE: usize = 9;
/// Packets that leave in one turn before another slot is used: what the turn itself costs is then little beside them.
const WORTH_A_TURN: usize = 20;
