//! Udp: a socket that sends to and hears only the voice server.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use socket2::SockRef;
use tokio::net::UdpSocket;

/// tokio tells when there is something to read, and the system itself whether it takes what is written, which needs no
/// round through the reactor.
pub(super) struct Socket {
    socket: Arc<UdpSocket>,
    #[cfg(feature = "faults")]
    refuses: Option<io::ErrorKind>,
}

impl Socket {
    pub(super) fn connect(server: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Arc::new(UdpSocket::from_std(socket)?),
            #[cfg(feature = "faults")]
            refuses: None,
        })
    }

    /// Sends without waiting.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        #[cfg(feature = "faults")]
        if let Some(kind) = self.refuses {
            return Err(kind.into());
        }
        SockRef::from(&*self.socket).send(datagram).map(drop)
    }

    /// Takes a datagram that has arrived.
    pub(super) fn receive(&self, datagram: &mut [u8]) -> io::Result<usize> {
        self.socket.try_recv(datagram)
    }

    /// Says whenever datagrams have arrived.
    pub(super) fn arrivals(&self) -> Arrivals {
        Arrivals(Arc::clone(&self.socket))
    }

    /// Refuses from now on to send.
    #[cfg(feature = "faults")]
    pub(super) fn refuse(&mut self, kind: io::ErrorKind) {
        self.refuses = Some(kind);
    }
}

/// Says whenever datagrams have arrived.
pub(super) struct Arrivals(Arc<UdpSocket>);

impl Stream for Arrivals {
    type Item = io::Result<()>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<()>>> {
        self.0.poll_recv_ready(cx).map(Some)
    }
}
