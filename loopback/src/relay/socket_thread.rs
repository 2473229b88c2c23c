//! The relay on a thread of its own, to measure with: it looks every two milliseconds what has come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::receive::{BatchSize, Receiver};

/// Receives, does what is due and sends, until it is told to stop.
pub(super) fn run(shared: &Shared, stop: &AtomicBool) {
    let mut receiver = match Receiver::new(&shared.socket) {
        Ok(receiver) => receiver,
        Err(error) => return tracing::error!(%error, "the relay cannot receive"),
    };
    while !stop.load(Ordering::Relaxed) {
        while turn(shared, &mut receiver) == BatchSize::Full {}
        thread::park_timeout(PAUSE);
    }
}

fn turn(shared: &Shared, receiver: &mut Receiver) -> BatchSize {
    let (outbox, tap_queue, received) = {
        let mut router = shared.router();
        let received = receiver.receive(&shared.socket, |datagram| {
            router.measured_datagram(datagram.bytes, datagram.from, datagram.arrival, datagram.taken);
        });
        let received = match received {
            Ok(batch) => {
                router.datagrams_dropped(batch.dropped);
                batch.size
            }
            Err(error) => {
                tracing::debug!(%error, "relay socket");
                BatchSize::Empty
            }
        };
        router.run_due(Instant::now());
        (router.take_outbox(), router.taps.take_queue(), received)
    };
    let happened = received != BatchSize::Empty || !outbox.is_empty() || !tap_queue.is_empty();
    for (to, datagram) in outbox {
        let sent = shared.socket.send_to(&datagram, to);
        shared.router().count_sent(&sent);
    }
    for (tap, packet) in tap_queue {
        tap.hear(&packet);
    }
    if happened {
        shared.activity.send_modify(|turns| *turns += 1);
    }
    received
}

/// A tenth of a packet's time: a sender that is measured wakes nobody.
const PAUSE: Duration = Duration::from_millis(2);
