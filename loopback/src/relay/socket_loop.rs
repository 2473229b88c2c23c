//! The relay as a task: everything that comes in or goes out passes here, in order.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::Shared;

/// Receives, does what is due and sends, until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, socket: UdpSocket) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let due = shared.router().deadline();
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok((len, from)) => take(&shared, &buffer[..len], from),
                Err(error) => tracing::debug!(%error, "relay socket"),
            },
            () = until(due) => {}
            () = shared.wake.notified() => {}
        }
        for _ in 0..BATCH {
            let Ok((len, from)) = socket.try_recv_from(&mut buffer) else { break };
            take(&shared, &buffer[..len], from);
        }
        shared.router().run_due(Instant::now());
        flush(&shared, &socket).await;
    }
}

/// Takes what has arrived and was not looked at yet.
pub(super) fn drain(shared: &Shared) {
    let mut buffer = [0; DATAGRAM_MAX];
    for _ in 0..BATCH {
        let Ok((len, from)) = shared.socket.recv_from(&mut buffer) else { break };
        take(shared, &buffer[..len], from);
    }
}

fn take(shared: &Shared, datagram: &[u8], from: SocketAddr) {
    shared.router().datagram(datagram, from, Instant::now());
}

/// Sends what waits, hands the simulated members what they hear, and says that something happened.
async fn flush(shared: &Shared, socket: &UdpSocket) {
    let (outbox, tap_queue) = {
        let mut router = shared.router();
        (router.take_outbox(), router.taps.take_queue())
    };
    for (to, datagram) in outbox {
        let sent = socket.send_to(&datagram, to).await;
        shared.router().count_sent(&sent);
    }
    for (tap, packet) in tap_queue {
        tap.hear(&packet);
    }
    shared.activity.send_modify(|turns| *turns += 1);
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

/// More than an Ethernet frame; nobody sends longer media.
pub(super) const DATAGRAM_MAX: usize = 2048;
/// How many datagrams are taken before looking at the clock and sending.
pub(super) const BATCH: usize = 64;
