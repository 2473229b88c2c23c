//! MediaSlot: where the media actors of a call run, and when within each 20 ms.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use actix::{Actor, Addr, ArbiterHandle, Context};

use crate::{actors::metronome::Pace, audio::frame::FRAME, speaker::Phase};

/// Where the media actors of a call run, and when within each 20 ms.
#[derive(Debug)]
pub(in crate::actors) struct MediaSlot {
    pub(in crate::actors) arbiter: Option<ArbiterHandle>,
    pub(in crate::actors) epoch: Instant,
    pub(in crate::actors) slot: u32,
    pub(in crate::actors) _counted: CallCount,
}

/// Counts one call of an arbiter for as long as it lives.
#[derive(Debug)]
pub(in crate::actors) struct CallCount(Arc<AtomicUsize>);

impl CallCount {
    pub(in crate::actors) fn new(calls: &Arc<AtomicUsize>) -> Self {
        calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(calls))
    }
}

impl Drop for CallCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MediaSlot {
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
