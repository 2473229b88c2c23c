//! A timerfd for each arbiter, shared by its alarms through a queue ordered by time.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    num::NonZeroU64,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    task::{Context, Waker},
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

use crate::actors::{config::MediaPriority, driven::now, meters::meters};

thread_local! {
    static CLOCK: RefCell<Weak<Clock>> = const { RefCell::new(Weak::new()) };
}

/// One speaker's place in the queue of its arbiter.
pub(super) struct Alarm {
    clock: Rc<Clock>,
    key: usize,
}

struct Clock {
    timer: AsyncFd<OwnedFd>,
    queue: RefCell<Queue>,
}

#[derive(Default)]
struct Queue {
    /// What each alarm waits for, and who is woken then.
    alarms: Slab<Option<(Instant, Waker)>>,
    /// The earliest first. An entry that is not what its alarm waits for (any more) is left to be skipped.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    /// What the timer is set to.
    armed: Option<Instant>,
}

impl Alarm {
    /// # Errors
    ///
    /// When the platform gives no timer.
    pub(super) fn new() -> io::Result<Self> {
        let clock = CLOCK.with_borrow_mut(|known| match known.upgrade() {
            Some(clock) => Ok(clock),
            None => {
                let clock = Clock::start()?;
                *known = Rc::downgrade(&clock);
                io::Result::Ok(clock)
            }
        })?;
        let key = clock.queue.borrow_mut().alarms.insert(None);
        Ok(Self { clock, key })
    }

    /// Wakes this task at `at`, instead of when it was to be woken before.
    pub(super) fn wake_at(&mut self, at: Instant, cx: &Context<'_>) {
        let mut queue = self.clock.queue.borrow_mut();
        queue.wait(self.key, at, cx.waker());
        self.clock.arm(&mut queue);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clock.queue.borrow_mut().alarms.remove(self.key);
    }
}

impl Queue {
    fn wait(&mut self, key: usize, at: Instant, waker: &Waker) {
        let queued = self.alarms[key].as_ref().is_some_and(|(queued, _)| *queued == at);
        self.alarms[key] = Some((at, waker.clone()));
        if !queued {
            self.due.push(Reverse((at, key)));
        }
    }

    /// Wakes all that are due.
    fn wake_due(&mut self) {
        let now = now();
        while let Some(Reverse((at, key))) = self.due.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            if let Some(alarm) = self.alarms.get_mut(key)
                && alarm.as_ref().is_some_and(|(waits_for, _)| *waits_for == at)
                && let Some((_, waker)) = alarm.take()
            {
                waker.wake();
            }
        }
    }
}

impl Clock {
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

    /// Wakes alarms for as long as the arbiter lives: one turn for all that are due.
    async fn run(clock: Rc<Self>) {
        while let Ok(mut ready) = clock.timer.readable().await {
            // Setting the timer anew also forgets that it has expired: it need not be read.
            ready.clear_ready();
            let began = now();
            clock.turn();
            // After all that was woken.
            tokio::task::yield_now().await;
            meters().turned(now() - began);
        }
    }

    /// Wakes what is due, and sets the timer to what comes next.
    fn turn(&self) {
        let mut queue = self.queue.borrow_mut();
        queue.armed = None;
        queue.wake_due();
        self.arm(&mut queue);
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, time::Duration};

    use futures_util::{StreamExt, stream::FuturesUnordered};

    use super::super::{Pace, ticks};
    use crate::actors::driven::now;

    #[test]
    fn ticks_come_in_the_order_of_their_times_and_never_early() {
        let came = Rc::new(RefCell::new(Vec::new()));
        actix::System::new().block_on(async {
            let start = now();
            let waits = [30, 10, 20, 10].map(|after| {
                let (came, at) = (Rc::clone(&came), start + Duration::from_millis(after));
                async move {
                    let (tick_handle, mut ticks) = ticks(Pace::Precise);
                    tick_handle.set(Some(at));
                    ticks.next().await;
                    assert!(now() >= at, "a tick came early");
                    came.borrow_mut().push(after);
                }
            });
            // Goes on in the order in which it is woken, also when a busy machine lets several fall due at once.
            waits.into_iter().collect::<FuturesUnordered<_>>().collect::<()>().await;
        });
        assert_eq!(*came.borrow(), [10, 10, 20, 30]);
    }

    #[test]
    fn a_tick_that_is_put_off_comes_at_the_new_time_only() {
        actix::System::new().block_on(async {
            let (tick_handle, mut ticks) = ticks(Pace::Precise);
            let later = now() + Duration::from_millis(400);
            tick_handle.set(Some(now() + Duration::from_millis(200)));
            assert!(futures_util::poll!(ticks.next()).is_pending());
            tick_handle.set(Some(later));
            ticks.next().await;
            assert!(now() >= later);
        });
    }
}
