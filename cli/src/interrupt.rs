//! Ctrl-C, and the system's request to end: the first ends politely, the second at once.

use std::io;

use tokio::{runtime::Runtime, sync::watch};

use crate::exit::Failure;

/// Whether the user or the system has requested the end. The clones are the same one.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on. A second request ends the process, whatever it is busy with.
    ///
    /// # Errors
    ///
    /// When the system lets us listen to no signals.
    pub fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Other(format!("no signals: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let signals = {
            let _inside = runtime.enter();
            Signals::new().map_err(failed)?
        };
        let (sender, requested) = watch::channel(false);
        // A thread of its own hears the second one also while all others are busy.
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || wait_for_signals(&runtime, signals, &sender)).map_err(failed)?;
        Ok(Self(requested))
    }

    /// Resolves once the end was requested.
    pub async fn requested(&self) {
        if self.0.clone().wait_for(|requested| *requested).await.is_err() {
            std::future::pending().await
        }
    }
}

fn wait_for_signals(runtime: &Runtime, mut signals: Signals, requested: &watch::Sender<bool>) {
    runtime.block_on(async {
        signals.next().await;
        requested.send_replace(true);
        signals.next().await;
        std::process::exit(INTERRUPTED_EXIT_CODE);
    });
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
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

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}

/// What shells report of a process that Ctrl-C has ended: 128 + SIGINT.
const INTERRUPTED_EXIT_CODE: i32 = 130;
