//! Place: where the media actors of a call run, and when within each 20 ms.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Instant,
};

use actix::{Actor, Addr, ArbiterHandle, Context};

use crate::{actors::metronome::Pace, audio::frame::FRAME, speaker::Phase};

/// Where the media actors of a call run, and when within each 20 ms.
#[derive(Clone, Debug)]
pub(in crate::actors) struct Place {
    pub(in crate::actors) arbiter: Option<ArbiterHandle>,
    pub(in crate::actors) calls: Arc<AtomicUsize>,
    pub(in crate::actors) epoch: Instant,
    pub(in crate::actors) slot: u32,
}

impl Place {
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
