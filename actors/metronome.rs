//! Metronome: one precise timer for all the speakers of an arbiter.
//!
//! tokio's timers wake one to two milliseconds late. On Linux a media arbiter waits on a timerfd instead, which
//! wakes a tenth of a millisecond late; elsewhere, and where a test pauses time, tokio's timers are used.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use actix::clock::Sleep;
use futures_util::Stream;

use super::now;

/// The moment that was waited for has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick;

/// Which clock paces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The most precise timer of the platform.
    Precise,
    /// tokio's timers, which a test can pause.
    Pausable,
}

/// Sets the moment of the next [`Tick`].
#[derive(Clone, Debug)]
pub(super) struct Baton(Rc<Shared>);

/// A stream of ticks, one for each moment that is set.
pub(super) struct Ticks {
    shared: Rc<Shared>,
    timer: Timer,
    armed: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    at: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

enum Timer {
    Sleep(Pin<Box<Sleep>>),
    #[cfg(target_os = "linux")]
    Precise(precise::Alarm),
}

/// A baton and the ticks it sets, for the arbiter that this is called on.
pub(super) fn ticks(pace: Pace) -> (Baton, Ticks) {
    let shared = Rc::new(Shared::default());
    let timer = match pace {
        #[cfg(target_os = "linux")]
        Pace::Precise => precise::Alarm::new().map_or_else(|_| sleep(), Timer::Precise),
        _ => sleep(),
    };
    (Baton(Rc::clone(&shared)), Ticks { shared, timer, armed: None })
}

fn sleep() -> Timer {
    Timer::Sleep(Box::pin(actix::clock::sleep_until(actix::clock::Instant::now())))
}

impl Baton {
    /// Ticks at `at`, instead of the moment set before; never, with none.
    pub(super) fn set(&self, at: Option<Instant>) {
        if self.0.at.replace(at) != at
            && let Some(waker) = self.0.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

impl Stream for Ticks {
    type Item = Tick;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Tick>> {
        let Some(at) = self.shared.at.get() else {
            *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if now() < at {
            let fresh = self.armed != Some(at);
            self.armed = Some(at);
            let pending = match &mut self.timer {
                Timer::Sleep(sleep) => {
                    if fresh {
                        sleep.as_mut().reset(at.into());
                    }
                    sleep.as_mut().poll(cx).is_pending()
                }
                #[cfg(target_os = "linux")]
                Timer::Precise(alarm) => alarm.poll(at, cx).is_pending(),
            };
            if pending {
                *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.shared.at.set(None);
        self.armed = None;
        Poll::Ready(Some(Tick))
    }
}

/// Makes the calling thread wake as early as the platform lets it; what it refuses is left as it is.
pub(super) fn tune_thread() {
    #[cfg(target_os = "linux")]
    precise::tune_thread();
}

#[cfg(target_os = "linux")]
mod precise {
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
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    use crate::actors::now;

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
            let timer = AsyncFd::register_with_interest(
                timerfd_create(TimerfdClockId::Monotonic, flags)?,
                Interest::READABLE,
            )?;
            let clock = Rc::new(Self { timer, queue: RefCell::default() });
            actix_rt::spawn(Self::run(Rc::clone(&clock)));
            Ok(clock)
        }

        /// Wakes alarms for as long as the arbiter lives.
        async fn run(clock: Rc<Self>) {
            while let Ok(mut ready) = clock.timer.readable().await {
                let mut expirations = [0; 8];
                let _ =
                    ready.try_io(|timer| rustix::io::read(timer, &mut expirations).map_err(io::Error::from));
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
}
