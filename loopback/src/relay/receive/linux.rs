//! `recvmmsg`, with the kernel's time of arrival for each datagram, and its count of those that it dropped.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::super::socket_loop::{BATCH, DATAGRAM_MAX};
use super::{Batch, BatchSize, Received};

pub(in super::super) struct Receiver {
    buffers: Vec<Vec<u8>>,
    headers: MultiHeaders<SockaddrStorage>,
    dropped: u64,
}

impl Receiver {
    pub(in super::super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(socket, sockopt::RxqOvfl, &1)?;
        // Without the right to force it, the system's limit holds, and what is dropped is counted.
        if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let space = cmsg_space!(TimeSpec, u32);
        let headers = MultiHeaders::preallocate(BATCH, Some(space));
        Ok(Self { buffers: vec![vec![0; DATAGRAM_MAX]; BATCH], headers, dropped: 0 })
    }

    /// Takes what has come, a batch at most.
    pub(in super::super) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut take: impl FnMut(Received<'_>),
    ) -> io::Result<Batch> {
        let mut slices: Vec<_> = self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None);
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Ok(Batch { size: BatchSize::Empty, dropped: self.dropped }),
            Err(error) => return Err(error.into()),
        };
        let clock = Clock::now();
        let mut count = 0;
        for message in received {
            count += 1;
            let mut arrival = clock.taken;
            for control in message.cmsgs().into_iter().flatten() {
                match control {
                    ControlMessageOwned::ScmTimestampns(time) => arrival = clock.instant(time),
                    ControlMessageOwned::RxqOvfl(dropped) => self.dropped = dropped.into(),
                    _ => {}
                }
            }
            let Some(from) = message.address.and_then(socket_address) else { continue };
            let Some(bytes) = message.iovs().next() else { continue };
            take(Received { bytes, from, arrival, taken: clock.taken });
        }
        Ok(Batch { size: BatchSize::of(count), dropped: self.dropped })
    }
}

/// The kernel's clock and ours, at one moment.
struct Clock {
    wall: Duration,
    taken: Instant,
}

impl Clock {
    fn now() -> Self {
        let wall = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).unwrap_or_default();
        Self { wall, taken: Instant::now() }
    }

    /// When it was what the kernel says.
    fn instant(&self, time: TimeSpec) -> Instant {
        let age = self.wall.saturating_sub(time.into());
        self.taken.checked_sub(age).unwrap_or(self.taken)
    }
}

fn socket_address(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| Some(SocketAddr::V6((*address.as_sockaddr_in6()?).into())))
}

/// A tenth of a second of thousands of calls.
const RECEIVE_BUFFER: usize = 8 << 20;
