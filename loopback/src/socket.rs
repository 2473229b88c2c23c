//! One accepted websocket: carries frames to the server's state, and the state's orders to the wire.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::http::{Replayed, read_head};
use crate::server::{Listener, OpenedSocket, SocketAction, SocketEnd};
use crate::shared::Shared;

/// Accepts for ever; every connection ends with this future.
pub(crate) async fn accept(tcp: TcpListener, listener: Listener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(Box::pin(serve(stream, listener, Arc::clone(&shared))));
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::task::yield_now().await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, listener: Listener, shared: Arc<Shared>) {
    let handshake = timeout(HANDSHAKE_TIMEOUT, open(stream, &shared)).await;
    let (mut websocket, version) = match handshake {
        Ok(Ok(Some(open))) => open,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%error, "the handshake failed"),
        Err(_) => return tracing::debug!("the handshake did not end"),
    };
    let (sender, mut actions) = mpsc::channel(ACTIONS_MAX);
    let connection =
        shared.with(|state, now| state.opened(OpenedSocket { listener, version, actions: sender }, now));
    let ended = exchange(&mut websocket, &mut actions, &shared, connection).await;
    shared.with(|state, now| state.ended(connection, ended, now));
}

/// A websocket, unless something else was asked for.
async fn open(stream: TcpStream, shared: &Shared) -> Result<Option<(Websocket, u8)>, io::Error> {
    stream.set_nodelay(true)?;
    let stream = match &shared.acceptor {
        Some(acceptor) => Stream::Tls(Box::new(acceptor.accept(stream).await?)),
        None => Stream::Plain(stream),
    };
    let Some(stream) = read_head(stream, shared).await? else { return Ok(None) };
    let mut version = 0;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let read_version = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        version = version_of(request.uri().query().unwrap_or_default());
        Ok(response)
    };
    let websocket = accept_hdr_async(stream, read_version).await.map_err(io::Error::other)?;
    Ok(Some((websocket, version)))
}

/// The `v` of a query string; 0 when it is missing or no number.
fn version_of(query: &str) -> u8 {
    query.split('&').find_map(|pair| pair.strip_prefix("v=")).and_then(|v| v.parse().ok()).unwrap_or(0)
}

async fn exchange(
    websocket: &mut Websocket,
    actions: &mut mpsc::Receiver<SocketAction>,
    shared: &Shared,
    connection: u64,
) -> SocketEnd {
    let mut code = None;
    loop {
        websocket.get_ref().stream.acknowledge_at_once();
        tokio::select! {
            biased;
            action = actions.recv() => match action {
                Some(action) => if !carry_out(action, websocket, actions).await {
                    return SocketEnd::Lost;
                },
                None => return SocketEnd::Lost,
            },
            frame = websocket.next() => match frame {
                Some(Ok(Message::Text(text))) => shared.with(|state, now| state.text(connection, &text, now)),
                Some(Ok(Message::Binary(frame))) => {
                    shared.with(|state, now| state.binary(connection, &frame, now));
                }
                Some(Ok(Message::Close(frame))) => code = Some(frame.map(|frame| u16::from(frame.code))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return code.map_or(SocketEnd::Lost, SocketEnd::Closed),
            },
        }
    }
}

/// Says whether the conversation goes on.
async fn carry_out(
    action: SocketAction,
    websocket: &mut Websocket,
    actions: &mut mpsc::Receiver<SocketAction>,
) -> bool {
    match action {
        SocketAction::Text(text) => send(websocket, Message::text(text)).await,
        SocketAction::Binary(frame) => send(websocket, Message::binary(frame)).await,
        SocketAction::Close { code, reason } => {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            let _peer_may_be_gone = timeout(CLOSE_TIMEOUT, websocket.close(Some(frame))).await;
            // Unread data at the time of dropping would turn the close into a reset.
            let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = websocket.next().await {} }).await;
            false
        }
        SocketAction::Reset => {
            let _ = websocket.get_ref().stream.tcp().set_zero_linger();
            false
        }
        SocketAction::Stall => {
            while !matches!(actions.recv().await, None | Some(SocketAction::Reset)) {}
            false
        }
    }
}

/// A client that does not read for long is given up.
async fn send(websocket: &mut Websocket, message: Message) -> bool {
    matches!(timeout(CLOSE_TIMEOUT, websocket.send(message)).await, Ok(Ok(())))
}

type Websocket = WebSocketStream<Replayed<Stream>>;

/// A TCP stream, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Asks the kernel not to delay TCP acknowledgements.
    ///
    /// A client with Nagle's algorithm on holds its second message back until the first is acknowledged. Those 40 ms
    /// are real ones: on a paused clock they would be minutes.
    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = self.tcp().set_quickack(true) {
            tracing::trace!(%error, "acknowledgements stay delayed");
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Far more than a client can fall behind by without being stalled.
const ACTIONS_MAX: usize = 4_096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take to read what ends a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
