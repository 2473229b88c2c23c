//! PacketInbox: the packets of one call on their way from the media arbiter to the hearing arbiter.
//!
//! The reader is woken only when it sleeps. While packets come it looks by itself, every few milliseconds, so that no packet
//! costs a wake-up of another thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Message, Recipient};

use crate::hearing::VoicePacket;

/// **PacketInbox → Listener.** There are packets again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct PacketsArrived;

/// Of one that is too full the oldest packets are dropped, and counted.
#[derive(Clone, Default)]
pub(super) struct PacketInbox(Arc<Mutex<Inbox>>);

#[derive(Default)]
struct Inbox {
    packets: Vec<VoicePacket>,
    reader: Option<Recipient<PacketsArrived>>,
    /// Whether the reader has to be woken.
    sleeps: bool,
    overflowed: u64,
}

impl PacketInbox {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Packets are never left half moved.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who takes what comes from now on; it is awake.
    pub(super) fn attach(&self, reader: Recipient<PacketsArrived>) {
        let mut inbox = self.inbox();
        inbox.reader = Some(reader);
        inbox.sleeps = false;
    }

    /// Puts in all packets of a batch, which is then empty.
    pub(super) fn put(&self, batch: &mut Vec<VoicePacket>) {
        if batch.is_empty() {
            return;
        }
        let mut inbox = self.inbox();
        inbox.packets.append(batch);
        let excess = inbox.packets.len().saturating_sub(MAX_PACKETS);
        inbox.packets.drain(..excess);
        inbox.overflowed += excess as u64;
        if std::mem::take(&mut inbox.sleeps)
            && let Some(reader) = &inbox.reader
        {
            reader.do_send(PacketsArrived);
        }
    }

    /// Takes out all packets, into a vector that is empty.
    pub(super) fn take(&self, into: &mut Vec<VoicePacket>) {
        std::mem::swap(&mut self.inbox().packets, into);
    }

    /// The reader wants to sleep; false if there is something to read.
    pub(super) fn sleep(&self) -> bool {
        let mut inbox = self.inbox();
        inbox.sleeps = inbox.packets.is_empty();
        inbox.sleeps
    }

    /// Packets that were dropped since this was asked last.
    pub(super) fn take_overflowed(&self) -> u64 {
        std::mem::take(&mut self.inbox().overflowed)
    }
}

/// Packets that may wait: more than three seconds of 25 speakers.
const MAX_PACKETS: usize = 4_096;

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};
    use bytes::Bytes;

    use super::*;
    use crate::{
        actors::driven::now,
        id::{Ssrc, UserId},
        jitter::Packet,
    };

    struct Reader(Arc<Mutex<u32>>);

    impl Actor for Reader {
        type Context = Context<Self>;
    }

    impl Handler<PacketsArrived> for Reader {
        type Result = ();

        fn handle(&mut self, _: PacketsArrived, _: &mut Context<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }

    fn packet(sequence: u16) -> VoicePacket {
        let packet = Packet { sequence, timestamp: 0, arrived: now(), opus: Bytes::new() };
        VoicePacket { user: UserId(1), ssrc: Ssrc(1), packet }
    }

    #[test]
    fn a_reader_is_woken_once_when_it_sleeps_and_never_while_it_reads() {
        actix::System::new().block_on(async {
            let (inbox, woken) = (PacketInbox::default(), Arc::new(Mutex::new(0)));
            inbox.attach(Reader(Arc::clone(&woken)).start().recipient());
            let wakes = async || {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                *woken.lock().unwrap()
            };
            inbox.put(&mut vec![packet(0)]);
            assert!(!inbox.sleep(), "there is something to read");
            assert_eq!(wakes().await, 0);
            let mut taken = Vec::new();
            inbox.take(&mut taken);
            assert_eq!(taken.len(), 1);
            assert!(inbox.sleep());
            inbox.put(&mut vec![packet(1)]);
            inbox.put(&mut vec![packet(2)]);
            assert_eq!(wakes().await, 1);
        });
    }

    #[test]
    fn what_does_not_fit_is_the_oldest_and_is_counted() {
        let inbox = PacketInbox::default();
        inbox.put(&mut (0..4_100).map(packet).collect());
        let mut taken = Vec::new();
        inbox.take(&mut taken);
        assert_eq!((taken.len(), taken[0].packet.sequence), (MAX_PACKETS, 4));
        assert_eq!((inbox.take_overflowed(), inbox.take_overflowed()), (4, 0));
    }
}
