//! Metronome: one precise timer for all the speakers of an arbiter.
//!
//! tokio's timers wake one to two milliseconds late. On Linux a media arbiter waits on a timerfd instead, which
//! wakes a tenth of a millisecond late; elsewhere, and where a test pauses time, tokio's timers are used.

#[cfg(target_os = "linux")]
mod precise;

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use actix::clock::Sleep;
use futures_util::Stream;

use super::{config::MediaPriority, driven::now};

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
pub(super) struct TickHandle(Rc<Shared>);

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
pub(super) fn ticks(pace: Pace) -> (TickHandle, Ticks) {
    let shared = Rc::new(Shared::default());
    let timer = match pace {
        #[cfg(target_os = "linux")]
        Pace::Precise => precise::Alarm::new().map_or_else(|_| sleep(), Timer::Precise),
        _ => sleep(),
    };
    (TickHandle(Rc::clone(&shared)), Ticks { shared, timer, armed: None })
}

fn sleep() -> Timer {
    Timer::Sleep(Box::pin(actix::clock::sleep_until(actix::clock::Instant::now())))
}

impl TickHandle {
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
                Timer::Precise(alarm) => {
                    alarm.wake_at(at, cx);
                    true
                }
            };
            if pending {
                *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.shared.at.set(None);
        // Whoever sets the next moment in answer to this tick is about to poll anyway.
        *self.shared.waker.borrow_mut() = None;
        self.armed = None;
        Poll::Ready(Some(Tick))
    }
}

/// Makes the calling thread wake as early as the platform lets it, and names it; what it refuses is left as it is.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only Linux is asked"))]
pub(super) fn tune_thread(priority: MediaPriority) {
    #[cfg(target_os = "linux")]
    precise::tune_thread(priority);
}
