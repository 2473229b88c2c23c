//! Nothing is allocated for a packet, once its buffers have grown. Alone in its process, because it counts allocations.
#![cfg(feature = "dave")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use actix_voice::{
    id::{SecretKey, Ssrc, UserId},
    transport::{
        Link, MAX_DATAGRAM, Received, RtpStart,
        cipher::Mode,
        dave::{BaseSecret, Frames, KeyChange, Sealed, SenderKey},
    },
};

/// The system's allocator, and how often it was asked for memory.
struct Counting(AtomicUsize);

// SAFETY: every call goes unchanged to the system's allocator, which keeps the contract; counting allocates nothing.
#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(AtomicUsize::new(0));

/// How often memory was asked for meanwhile.
fn allocations(of: impl FnOnce()) -> usize {
    let before = ALLOCATOR.0.load(Ordering::Relaxed);
    of();
    ALLOCATOR.0.load(Ordering::Relaxed) - before
}

/// One test, so that no other allocates at the same time.
#[test]
fn a_packet_is_sealed_and_opened_without_an_allocation() {
    assert!(allocations(|| drop(std::hint::black_box(vec![0_u8; 100]))) > 0, "allocations are counted");
    end_to_end();
    Mode::ALL.iter().copied().for_each(transport);
}

fn end_to_end() {
    let user = UserId(7);
    let secret = || BaseSecret::new([1; 16]);
    let mut frames = Frames::new();
    frames.install(KeyChange::Receivers { epoch: 1, secrets: vec![(user, secret())] }, now());
    frames.install(KeyChange::Sender(SenderKey::Epoch { epoch: 1, secret: secret() }), now());
    let (mut sealed, mut opened) = (Vec::new(), Vec::new());
    let mut carry = |packets: usize| {
        for _ in 0..packets {
            sealed.clear();
            assert_eq!(frames.sealer.seal(&[0x55; 160], &mut sealed), Sealed::Encrypted);
            assert!(frames.openers.open(user, &sealed, &mut opened, now()).is_ok());
        }
    };
    carry(1);
    assert_eq!(allocations(|| carry(1_000)), 0, "end to end");
}

fn transport(mode: Mode) {
    let mut link = Link::new(Ssrc(1), RtpStart::default(), now());
    link.described(mode.name(), &SecretKey([7; 32]), now()).expect("a mode of this build");
    let mut packet = Vec::with_capacity(MAX_DATAGRAM);
    let mut carry = |packets: usize| {
        for _ in 0..packets {
            link.seal(960, &mut packet, written(&[0x55; 160])).expect("a fresh nonce");
            link.voice_sent(packet.len());
            assert!(matches!(link.datagram(&mut packet, now()), Received::Voice { .. }));
        }
    };
    carry(1);
    assert_eq!(allocations(|| carry(1_000)), 0, "{mode}");
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn now() -> Instant {
    Instant::now()
}

/// Writes this frame.
fn written(frame: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> bool + use<'_> {
    |out| {
        out.extend_from_slice(frame);
        true
    }
}
