//! A timerfd for each arbiter, shared by all that is paced on it through a queue ordered by time.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    num::NonZeroU64,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use slab::Slab;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ScheduleParams, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Paced, tick};
use crate::actors::{config::MediaPriority, driven::now, meters::meters};

thread_local! {
    static CLOCK: RefCell<Weak<Clock>> = const { RefCell::new(Weak::new()) };
}

/// The place of something paced in the queue of its arbiter.
pub(super) struct TickHandle {
    clock: Rc<Clock>,
    key: usize,
}

/// The timer of an arbiter, and who waits for it.
pub(super) struct Clock {
    timer: AsyncFd<OwnedFd>,
    queue: RefCell<Queue>,
}

#[derive(Default)]
struct Queue {
    places: Slab<Place>,
    /// The earliest first. An entry that is not what its place waits for (any more) is left to be skipped.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// What the timer is set to.
    armed: Option<Instant>,
}

struct Place {
    at: Option<Instant>,
    paced: Rc<RefCell<dyn Paced>>,
}

impl TickHandle {
    pub(super) fn new(clock: Rc<Clock>, paced: Rc<RefCell<dyn Paced>>) -> Self {
        let key = clock.queue.borrow_mut().places.insert(Place { at: None, paced });
        Self { clock, key }
    }

    pub(super) fn set(&self, at: Option<Instant>) {
        let mut queue = self.clock.queue.borrow_mut();
        queue.wait(self.key, at);
        self.clock.arm(&mut queue);
    }
}

impl Drop for TickHandle {
    fn drop(&mut self) {
        self.clock.queue.borrow_mut().places.remove(self.key);
    }
}

impl Queue {
    fn wait(&mut self, key: usize, at: Option<Instant>) {
        let Some(place) = self.places.get_mut(key) else { return };
        if std::mem::replace(&mut place.at, at) != at
            && let Some(at) = at
        {
            self.due.push(Reverse((at, key)));
        }
    }

    /// Takes the first that is due.
    fn take_due(&mut self, now: Instant) -> Option<(usize, Rc<RefCell<dyn Paced>>)> {
        while let Some(Reverse((at, key))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            if let Some(place) = self.places.get_mut(key)
                && place.at == Some(at)
            {
                place.at = None;
                return Some((key, Rc::clone(&place.paced)));
            }
        }
        None
    }
}

impl Clock {
    /// # Errors
    ///
    /// When the platform gives no timer.
    pub(super) fn of_this_arbiter() -> io::Result<Rc<Self>> {
        CLOCK.with_borrow_mut(|known| match known.upgrade() {
            Some(clock) => Ok(clock),
            None => {
                let clock = Self::start()?;
                *known = Rc::downgrade(&clock);
                Ok(clock)
            }
        })
    }

    fn start() -> io::Result<Rc<Self>> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an `OwnedFd` is an open descriptor of its own, which nothing else closes or replaces; it moves
        // into the `AsyncFd`, which gives out shared references only, and its `as_raw_fd` always names it.
        #[expect(unsafe_code, reason = "tokio cannot see that this descriptor is owned")]
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        let timer = timer.map_err(io::Error::from)?;
        let clock = Rc::new(Self { timer, queue: RefCell::default() });
        actix_rt::spawn(Self::run(Rc::clone(&clock)));
        Ok(clock)
    }

    /// One turn for all that is due, again and again, for as long as the arbiter lives.
    async fn run(clock: Rc<Self>) {
        while let Ok(mut ready) = clock.timer.readable().await {
            // Setting the timer anew also forgets that it has expired: it need not be read.
            ready.clear_ready();
            let began = now();
            clock.queue.borrow_mut().armed = None;
            // A guard that lived on during a tick would forbid it to set the moment of another.
            while let Some((key, paced)) = { clock.queue.borrow_mut().take_due(began) } {
                let next = tick(&paced);
                clock.queue.borrow_mut().wait(key, next);
            }
            clock.arm(&mut clock.queue.borrow_mut());
            meters().turned(now() - began);
        }
    }

    /// Sets the timer to the first of the queue, unless it is.
    fn arm(&self, queue: &mut Queue) {
        let Some(Reverse((next, _))) = queue.due.peek().copied() else { return };
        if queue.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        queue.armed = Some(next);
        let after = next.saturating_duration_since(now()).max(Duration::from_nanos(1));
        let value =
            Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Setting a valid time on a timerfd of our own does not fail; were it to, the next frame would come late.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

pub(super) fn tune_thread(priority: MediaPriority) {
    // For whoever looks at a list of threads.
    let _ = rustix::thread::set_name(c"voice-media");
    // The default slack of 50 µs is for saving power.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    match priority {
        MediaPriority::Normal => {}
        MediaPriority::Realtime if is_realtime() => {}
        MediaPriority::Raised | MediaPriority::Realtime => {
            let this_thread = rustix::thread::gettid();
            let _ = rustix::process::setpriority_process(Some(this_thread), RAISED);
        }
    }
}

/// Makes this a thread of `SCHED_FIFO`, if that is allowed.
fn is_realtime() -> bool {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    // The lowest of that policy: before every ordinary thread, and after whatever else is real time on this machine.
    let lowest = ThreadPriority::from_posix(ScheduleParams { sched_priority: 1 });
    set_thread_priority_and_policy(thread_native_id(), lowest, policy).is_ok()
}

/// The nice level of threads before others.
const RAISED: i32 = -10;
