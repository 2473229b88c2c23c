//! What every task shares: the state behind its lock, and the tasks that are woken when it changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::relay::Relay;
use crate::server::State;

/// What every task shares.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something may have changed: conditions are looked at again.
    pub(crate) changed: Notify,
    /// A deadline may have moved.
    timers: Notify,
    /// A simulated member could not decrypt something, and may have something to say about it.
    pub(crate) undecrypted: Arc<Notify>,
    changes: AtomicU64,
    traffic: watch::Receiver<u64>,
    pub(crate) relay: Relay,
    pub(crate) acceptor: Option<TlsAcceptor>,
}

impl Shared {
    pub(crate) fn new(state: State, relay: Relay, acceptor: Option<TlsAcceptor>) -> Self {
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            timers: Notify::new(),
            undecrypted: Arc::default(),
            changes: AtomicU64::new(0),
            traffic: relay.activity(),
            relay,
            acceptor,
        }
    }

    /// Looks at the state without changing it.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts what has happened at the gateways and the relay.
    pub(crate) fn happened(&self) -> u64 {
        self.changes.load(Ordering::Relaxed) + *self.traffic.borrow()
    }

    /// Changes the state, then wakes everyone who waits for a change.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State, Instant) -> R) -> R {
        let result = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
        self.timers.notify_one();
        result
    }

    /// Carries out what is due, for ever.
    pub(crate) async fn keep_time(&self) {
        loop {
            let due = match self.peek(State::deadline) {
                Some(deadline) => tokio::select! {
                    () = tokio::time::sleep_until(deadline) => true,
                    () = self.timers.notified() => false,
                },
                None => {
                    self.timers.notified().await;
                    false
                }
            };
            if due {
                self.with(State::elapse);
            }
        }
    }
}
