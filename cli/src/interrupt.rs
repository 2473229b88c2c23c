//! Ctrl-C, and the system's request to end: the first ends politely, the second at once.

use std::future::Future;

use crate::exit::Failure;

/// Resolves when the user or the system asks to stop; from then on a second time ends the process.
///
/// # Errors
///
/// When the system lets us listen to no signals.
pub fn interrupted() -> Result<impl Future<Output = ()> + Unpin, Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::Other(format!("no signals: {error}")))?;
    Ok(Box::pin(async move {
        signals.next().await;
        actix_rt::spawn(async move {
            signals.next().await;
            std::process::exit(INTERRUPTED);
        });
    }))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// What shells report of a process that Ctrl-C has ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;
