//! A timerfd for each arbiter, shared by its alarms through a queue ordered by time.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::Instant,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::actors::driven::now;

thread_local! {
    static CLOCK: RefCell<Weak<Clock>> = const { RefCell::new(Weak::new()) };
}

/// One speaker's place in the queue of its arbiter.
pub(super) struct Alarm {
    clock: Rc<Clock>,
    id: u64,
    queued: Option<Instant>,
}

struct Clock {
    timer: AsyncFd<OwnedFd>,
    queue: RefCell<Queue>,
}

#[derive(Default)]
struct Queue {
    wakers: BTreeMap<(Instant, u64), Waker>,
    armed: Option<Instant>,
    ids: u64,
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
        let id = clock.queue.borrow_mut().next_id();
        Ok(Self { clock, id, queued: None })
    }

    pub(super) fn poll(&mut self, at: Instant, cx: &Context<'_>) -> Poll<()> {
        self.leave();
        if at <= now() {
            return Poll::Ready(());
        }
        self.queued = Some(at);
        self.clock.queue.borrow_mut().wakers.insert((at, self.id), cx.waker().clone());
        self.clock.arm();
        Poll::Pending
    }

    fn leave(&mut self) {
        if let Some(at) = self.queued.take() {
            self.clock.queue.borrow_mut().wakers.remove(&(at, self.id));
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Queue {
    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Wakes all that are due, and says when the next is.
    fn wake_due(&mut self) -> Option<Instant> {
        let now = now();
        while let Some(entry) = self.wakers.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            entry.remove().wake();
        }
        None
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

    /// Wakes alarms for as long as the arbiter lives.
    async fn run(clock: Rc<Self>) {
        while let Ok(mut ready) = clock.timer.readable().await {
            let mut expirations = [0; 8];
            let _ = ready.try_io(|timer| rustix::io::read(timer, &mut expirations).map_err(io::Error::from));
            clock.queue.borrow_mut().armed = None;
            clock.arm();
        }
    }

    /// Sets the timer to the first alarm of the queue.
    fn arm(&self) {
        let mut queue = self.queue.borrow_mut();
        let Some(next) = queue.wake_due() else { return };
        if queue.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        queue.armed = Some(next);
        let after = next.saturating_duration_since(now()).max(std::time::Duration::from_nanos(1));
        let value =
            Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // Setting a valid time on a timerfd of our own does not fail; were it to, the next frame would come late.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

pub(super) fn tune_thread() {
    // The default slack of 50 µs is for saving power.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

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
