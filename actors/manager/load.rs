//! Load: how busy the thread of an arbiter is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use actix::ArbiterHandle;

use crate::actors::{driven::now, meters::meters};

/// How much of a core the thread of an arbiter used of late, as far as the platform tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Load(Arc<AtomicU32>);

impl Load {
    /// The load of the arbiter of this number, measured from now on.
    pub(super) fn of(arbiter: &ArbiterHandle, number: usize) -> Self {
        let load = Self::default();
        let measured = load.clone();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(measured.measure(number));
        });
        load
    }

    /// 1.0 is all of a core.
    pub(super) fn share(&self) -> f32 {
        self.0.load(Ordering::Relaxed) as f32 / PER_CORE
    }

    #[cfg(test)]
    pub(super) fn set(&self, share: f32) {
        self.0.store((share * PER_CORE) as u32, Ordering::Relaxed);
    }

    async fn measure(self, number: usize) {
        let mut before = (now(), cpu_time());
        loop {
            actix::clock::sleep(PERIOD).await;
            let after = (now(), cpu_time());
            let Some((used, used_before)) = after.1.zip(before.1) else { return };
            // A busy thread is woken late.
            let passed = (after.0 - before.0).max(PERIOD);
            let share = used.saturating_sub(used_before).as_secs_f32() / passed.as_secs_f32();
            self.0.store((share * PER_CORE) as u32, Ordering::Relaxed);
            meters().arbiter_load(number, share);
            before = after;
        }
    }
}

/// What this thread has used so far.
fn cpu_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Some(Duration::new(used.tv_sec.try_into().ok()?, used.tv_nsec.try_into().ok()?))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// How often it is measured.
const PERIOD: Duration = Duration::from_secs(1);
/// The unit: a thousandth of a core.
const PER_CORE: f32 = 1_000.0;
