//! Tcp: a connection to a host by whichever of its addresses answers first.
//!
//! A name with an IPv6 address that leads nowhere is connected to by IPv4, a quarter of a second later: "happy eyeballs",
//! [RFC 8305](https://www.rfc-editor.org/rfc/rfc8305).

use std::{io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::net::{TcpStream, lookup_host};

/// Connects, without Nagle's algorithm, which would hold a small message back until the one before is acknowledged: up to
/// 40 ms between Speaking and the audio it announces.
///
/// # Errors
///
/// When the name has no address, or the error of the last address when none takes the connection.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let connection = connect_to_any(alternating(lookup_host((host, port)).await?.collect())).await?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// The resolver's order, but families take turns, the first one's first.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (firsts, seconds): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut firsts, mut seconds) = (firsts.into_iter(), seconds.into_iter());
    let pairs = std::iter::from_fn(|| match (firsts.next(), seconds.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    pairs.flatten().flatten().collect()
}

/// Tries the addresses in this order, each after a pause or as soon as the one before has failed; the first to connect is
/// taken. There is no deadline: that is the caller's.
async fn connect_to_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        attempts.extend(untried.next().map(TcpStream::connect));
        let pause = async {
            match untried.len() {
                0 => std::future::pending().await,
                _ => actix::clock::sleep(ATTEMPT_PAUSE).await,
            }
        };
        tokio::select! {
            attempt = attempts.next() => match attempt {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => failure = error,
                None => return Err(failure),
            },
            () = pause => {}
        }
    }
}

/// How long one address may take before the next is tried beside it: what RFC 8305 recommends.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn families_take_turns() {
        let [a, b, c] = ["[::1]:1", "[::2]:1", "[::3]:1"].map(address);
        let [x, y] = ["1.1.1.1:1", "2.2.2.2:1"].map(address);
        assert_eq!(alternating(vec![a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(alternating(vec![x, a, y]), [x, a, y]);
        assert_eq!(alternating(vec![x, y]), [x, y]);
        assert_eq!(alternating(vec![]), []);
    }

    /// An address that takes no more connections and refuses none: its queue is full.
    async fn black_hole() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(address("127.0.0.1:0")).expect("a port");
        let listener = socket.listen(1).expect("it listens");
        let full = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        let wait = Duration::from_millis(100);
        while let Ok(connection) = tokio::time::timeout(wait, TcpStream::connect(full)).await {
            queued.push(connection.expect("there is room"));
        }
        (full, listener, queued)
    }

    #[actix::test]
    async fn an_address_that_leads_nowhere_costs_a_quarter_of_a_second() {
        let (nowhere, _listener, _queued) = black_hole().await;
        let good = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = good.local_addr().expect("an address");
        let limit = Duration::from_secs(1);
        let connection = tokio::time::timeout(limit, connect_to_any(vec![nowhere, good])).await;
        let connection = connection.expect("within a second").expect("it connects");
        assert_eq!(connection.peer_addr().expect("an address"), good);
    }

    #[actix::test]
    async fn an_address_that_refuses_costs_nothing_and_the_last_error_is_told() {
        let good = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = good.local_addr().expect("an address");
        let closed =
            TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
        let limit = ATTEMPT_PAUSE / 2;
        let connection = tokio::time::timeout(limit, connect_to_any(vec![closed, closed, open])).await;
        assert_eq!(connection.expect("at once").expect("it connects").peer_addr().expect("an address"), open);
        let refused = connect_to_any(vec![closed]).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_to_any(vec![]).await.expect_err("nowhere").kind(), io::ErrorKind::NotFound);
    }

    #[actix::test]
    async fn a_literal_ipv6_address_needs_no_resolver() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
        let port = listener.local_addr().expect("an address").port();
        let connection = connect("[::1]", port).await.expect("it connects");
        assert!(connection.nodelay().expect("an option"));
    }
}
