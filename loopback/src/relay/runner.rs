//! What keeps a relay running: a task on the runtime, or a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::task::AbortHandle;

use super::{Shared, socket_loop, socket_thread};
use crate::builder::RelayThread;

/// Runs a relay until it is dropped.
pub(super) enum Runner {
    Task(AbortHandle),
    Thread { stop: Arc<AtomicBool>, thread: Option<JoinHandle<()>> },
}

impl Runner {
    pub(super) fn start(shared: Arc<Shared>, thread: RelayThread) -> io::Result<Self> {
        match thread {
            RelayThread::Shared => {
                let socket = tokio::net::UdpSocket::from_std(shared.socket.try_clone()?)?;
                Ok(Self::Task(tokio::spawn(socket_loop::run(shared, socket)).abort_handle()))
            }
            RelayThread::Own => {
                let stop = Arc::new(AtomicBool::new(false));
                let stopped = stop.clone();
                let run = move || socket_thread::run(&shared, &stopped);
                let thread = thread::Builder::new().name("relay".into()).spawn(run)?;
                Ok(Self::Thread { stop, thread: Some(thread) })
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        match self {
            Self::Task(task) => task.abort(),
            Self::Thread { stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                if let Some(thread) =
                    thread.take().filter(|other| other.thread().id() != thread::current().id())
                {
                    thread.thread().unpark();
                    // A relay that panicked has said so.
                    let _ = thread.join();
                }
            }
        }
    }
}
