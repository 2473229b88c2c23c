//! One system call for each datagram, and its arrival is when it is taken.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use tokio::time::Instant;

use super::super::socket_loop::{BATCH, DATAGRAM_MAX};
use super::{Batch, BatchSize, Received};

pub(in super::super) struct Receiver {
    buffer: Vec<u8>,
}

impl Receiver {
    pub(in super::super) fn new(_: &UdpSocket) -> io::Result<Self> {
        Ok(Self { buffer: vec![0; DATAGRAM_MAX] })
    }

    /// Takes what has come, a batch at most.
    pub(in super::super) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut take: impl FnMut(Received<'_>),
    ) -> io::Result<Batch> {
        for taken in 0..BATCH {
            match socket.recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    let now = Instant::now();
                    take(Received { bytes: &self.buffer[..length], from, arrival: now, taken: now });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Batch { size: BatchSize::of(taken), dropped: 0 });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Batch { size: BatchSize::Full, dropped: 0 })
    }
}
