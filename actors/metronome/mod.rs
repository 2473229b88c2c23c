//! Metronome: one precise timer for all the speakers of an arbiter.
//!
//! tokio's timers wake one to two milliseconds late. On Linux a media arbiter waits on a timerfd instead, which
//! wakes a tenth of a millisecond late; elsewhere, and where a test pauses time, tokio's timers are used.
//!
//! All that is due at a moment is done in one turn, one after the other: no task is woken for it.

mod pausable;
#[cfg(target_os = "linux")]
mod precise;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Instant,
};

use super::config::MediaPriority;

/// What is done at moments that it names itself.
pub(super) trait Paced: 'static {
    /// Does what is due, and says when it is due again.
    fn tick(&mut self) -> Option<Instant>;

    /// A tick has panicked; none follows unless the moment is set anew.
    fn panicked(&mut self);
}

/// Which clock paces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The most precise timer of the platform.
    Precise,
    /// tokio's timers, which a test can pause.
    Pausable,
}

/// Sets the moments of something paced; dropped, there are no more.
pub(super) struct TickHandle(Timer);

enum Timer {
    Pausable(pausable::TickHandle),
    #[cfg(target_os = "linux")]
    Precise(precise::TickHandle),
}

impl TickHandle {
    /// On the arbiter that this is called on; there is no tick before a moment is set.
    pub(super) fn of(paced: Rc<RefCell<dyn Paced>>, pace: Pace) -> Self {
        #[cfg(target_os = "linux")]
        if pace == Pace::Precise
            && let Ok(clock) = precise::Clock::of_this_arbiter()
        {
            return Self(Timer::Precise(precise::TickHandle::new(clock, paced)));
        }
        Self(Timer::Pausable(pausable::TickHandle::new(paced)))
    }

    /// Ticks at `at`, instead of the moment set before; never, with none.
    pub(super) fn set(&self, at: Option<Instant>) {
        match &self.0 {
            Timer::Pausable(pausable) => pausable.set(at),
            #[cfg(target_os = "linux")]
            Timer::Precise(precise) => precise.set(at),
        }
    }
}

/// One tick; a panic is nobody else's.
fn tick(paced: &RefCell<dyn Paced>) -> Option<Instant> {
    catch_unwind(AssertUnwindSafe(|| paced.borrow_mut().tick())).unwrap_or_else(|_| {
        paced.borrow_mut().panicked();
        None
    })
}

/// Makes the calling thread wake as early as the platform lets it, and names it; what it refuses is left as it is.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "only Linux is asked"))]
pub(super) fn tune_thread(priority: MediaPriority) {
    #[cfg(target_os = "linux")]
    precise::tune_thread(priority);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actors::driven::now;

    /// Notes when it ticks, and ticks again as often as it was told to.
    #[derive(Default)]
    struct Drummer {
        again: Vec<Duration>,
        ticks: Vec<Instant>,
        panics: bool,
        panicked: bool,
    }

    impl Paced for Drummer {
        fn tick(&mut self) -> Option<Instant> {
            assert!(!self.panics, "a test made it panic");
            self.ticks.push(now());
            self.again.pop().map(|after| now() + after)
        }

        fn panicked(&mut self) {
            self.panicked = true;
        }
    }

    fn drummer(pace: Pace, drummer: Drummer) -> (Rc<RefCell<Drummer>>, TickHandle) {
        let drummer = Rc::new(RefCell::new(drummer));
        (Rc::clone(&drummer), TickHandle::of(drummer, pace))
    }

    async fn until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                actix::clock::sleep(Duration::from_millis(1)).await;
            }
        };
        actix::clock::timeout(Duration::from_secs(20), waiting).await.expect("it ticks");
    }

    #[test]
    fn ticks_come_in_the_order_of_their_moments_and_never_early() {
        for pace in [Pace::Precise, Pace::Pausable] {
            actix::System::new().block_on(async {
                let start = now();
                let drummers = [30, 10, 20, 10].map(|after| {
                    let (drummer, handle) = drummer(pace, Drummer::default());
                    let at = start + Duration::from_millis(after);
                    handle.set(Some(at));
                    (drummer, handle, at)
                });
                let all = || drummers.iter().all(|(drummer, ..)| !drummer.borrow().ticks.is_empty());
                until(all).await;
                for (drummer, _, at) in &drummers {
                    let came = drummer.borrow().ticks[0];
                    assert!(came >= *at, "a tick came early");
                    for (other, _, later) in drummers.iter().filter(|(.., later)| later > at) {
                        assert!(other.borrow().ticks[0] >= came, "{later:?} came before {at:?}");
                    }
                }
            });
        }
    }

    #[test]
    fn who_ticks_says_when_the_next_tick_is_and_ends_when_it_is_dropped() {
        for pace in [Pace::Precise, Pace::Pausable] {
            actix::System::new().block_on(async {
                let again = vec![Duration::from_millis(20); 3];
                let (drummer, handle) = drummer(pace, Drummer { again, ..Drummer::default() });
                handle.set(Some(now()));
                until(|| drummer.borrow().ticks.len() == 4).await;
                let came = drummer.borrow().ticks.clone();
                assert!(came.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(20)));
                drop(handle);
                assert_eq!(Rc::strong_count(&drummer), 1, "nobody can make it tick any more");
            });
        }
    }

    #[test]
    fn a_tick_that_is_put_off_comes_at_the_new_moment_only() {
        for pace in [Pace::Precise, Pace::Pausable] {
            actix::System::new().block_on(async {
                let (drummer, handle) = drummer(pace, Drummer::default());
                let later = now() + Duration::from_millis(200);
                handle.set(Some(now() + Duration::from_millis(100)));
                actix::clock::sleep(Duration::from_millis(5)).await;
                handle.set(Some(later));
                until(|| !drummer.borrow().ticks.is_empty()).await;
                assert!(drummer.borrow().ticks[0] >= later);
                handle.set(Some(now() + Duration::from_millis(20)));
                handle.set(None);
                actix::clock::sleep(Duration::from_millis(60)).await;
                assert_eq!(drummer.borrow().ticks.len(), 1);
            });
        }
    }

    #[test]
    fn who_panics_is_told_and_the_others_tick_on() {
        for pace in [Pace::Precise, Pace::Pausable] {
            actix::System::new().block_on(async {
                let (broken, its) = drummer(pace, Drummer { panics: true, ..Drummer::default() });
                let (sound, others) = drummer(pace, Drummer::default());
                let at = now() + Duration::from_millis(10);
                its.set(Some(at));
                others.set(Some(at));
                until(|| broken.borrow().panicked && !sound.borrow().ticks.is_empty()).await;
            });
        }
    }
}
