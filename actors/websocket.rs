//! A websocket to a gateway: awc's, with what awc leaves to its users (pongs, fragments, losses, deadlines).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_codec::Framed;
use actix_http::{
    Uri,
    ws::{CloseCode, CloseReason, Codec, Frame, Item, Message, ProtocolError},
};
use actix_service::fn_service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::{BoxedSocket, Client, Connector};
use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    sync::mpsc::{self, error::TrySendError},
};

use super::tcp;
use crate::gateway::payload::Outgoing;

/// What the other side sent; after `Closed` or `Lost` the stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Text(Bytes),
    Binary(Bytes),
    /// It closed the connection, with this code if it gave one.
    Closed(Option<u16>),
    /// The connection broke.
    Lost(String),
}

/// The connection does not take what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection takes no more: {QUEUE} messages are waiting to be written")]
pub(super) struct Stuck;

/// The writing half. Dropped, it writes what is queued and closes the connection.
#[derive(Debug)]
pub(super) struct Writer(mpsc::Sender<Message>);

/// The reading half.
pub(super) struct Reader {
    frames: SplitStream<Framed<BoxedSocket, Codec>>,
    fragments: Option<(Kind, BytesMut)>,
    max_message: usize,
    pongs: mpsc::WeakSender<Message>,
    ended: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Binary,
}

/// Opens a websocket.
///
/// # Errors
///
/// What went wrong, for a person: DNS, TCP, TLS or the upgrade, or no answer in ten seconds.
pub(super) async fn open(
    url: String,
    tls: Arc<ClientConfig>,
    max_message: usize,
) -> Result<(Writer, Reader), String> {
    let connector = Connector::new().connector(fn_service(connect_tcp)).rustls_0_23(tls);
    let connector = connector.timeout(SOCKET_TIMEOUT).handshake_timeout(SOCKET_TIMEOUT);
    let client = Client::builder().connector(connector).disable_timeout().finish();
    let request = client.ws(url).max_frame_size(max_message);
    let framed = match actix::clock::timeout(SOCKET_TIMEOUT, request.connect()).await {
        Ok(Ok((_, framed))) => framed,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", SOCKET_TIMEOUT.as_secs())),
    };
    let (sink, frames) = framed.split();
    let (sender, queue) = mpsc::channel(QUEUE);
    let pongs = sender.downgrade();
    actix_rt::spawn(write(sink, queue));
    Ok((Writer(sender), Reader { frames, fragments: None, max_message, pongs, ended: false }))
}

async fn connect_tcp(to: ConnectInfo<Uri>) -> Result<Connection<Uri, TcpStream>, ConnectError> {
    let connection = tcp::connect(to.hostname(), to.port()).await.map_err(ConnectError::Io)?;
    Ok(Connection::new(to.request().clone(), connection))
}

impl Writer {
    /// Queues a message.
    ///
    /// # Errors
    ///
    /// When the connection has long taken nothing, or is gone.
    pub(super) fn send(&self, message: Outgoing) -> Result<(), Stuck> {
        let message = match message {
            Outgoing::Text(text) => Message::Text(text.into()),
            Outgoing::Binary(bytes) => Message::Binary(bytes),
        };
        match self.0.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Err(Stuck),
        }
    }

    /// Closes with a code once what is queued is written.
    pub(super) fn close(self, code: u16) {
        let reason = CloseReason { code: CloseCode::from(code), description: None };
        // A full queue means that the other side reads nothing, a Close included.
        let _ = self.0.try_send(Message::Close(Some(reason)));
    }

    /// Waits until a Close and all before it is written, or the connection takes nothing any more.
    pub(super) fn written(&self) -> impl Future<Output = ()> + use<> {
        let queue = self.0.clone();
        async move { queue.closed().await }
    }
}

/// Writes until a Close is written, the queue is closed or the connection takes nothing for ten seconds; a loss is reported by the reader.
async fn write(mut sink: SplitSink<Framed<BoxedSocket, Codec>, Message>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        let last = matches!(message, Message::Close(_));
        if !matches!(actix::clock::timeout(SOCKET_TIMEOUT, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
        if last {
            break;
        }
    }
    let _ = actix::clock::timeout(SOCKET_TIMEOUT, sink.close()).await;
}

impl Stream for Reader {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        while !self.ended {
            let incoming = match ready!(self.frames.poll_next_unpin(cx)) {
                Some(Ok(frame)) => self.accept(frame),
                Some(Err(error)) => Some(self.end(Incoming::Lost(describe(&error)))),
                None => Some(self.end(Incoming::Lost("the connection ended without a close frame".into()))),
            };
            if incoming.is_some() {
                return Poll::Ready(incoming);
            }
        }
        Poll::Ready(None)
    }
}

impl Reader {
    fn accept(&mut self, frame: Frame) -> Option<Incoming> {
        match frame {
            Frame::Text(text) => Some(Incoming::Text(text)),
            Frame::Binary(bytes) => Some(Incoming::Binary(bytes)),
            Frame::Ping(data) => {
                if let Some(pongs) = self.pongs.upgrade() {
                    // A connection that takes no pong is stuck, which the heartbeats find out.
                    let _ = pongs.try_send(Message::Pong(data));
                }
                None
            }
            Frame::Pong(_) => None,
            Frame::Close(reason) => Some(self.end(Incoming::Closed(reason.map(|reason| reason.code.into())))),
            Frame::Continuation(item) => self.join(item),
        }
    }

    fn join(&mut self, item: Item) -> Option<Incoming> {
        match item {
            Item::FirstText(part) => self.fragments = Some((Kind::Text, BytesMut::from(&part[..]))),
            Item::FirstBinary(part) => self.fragments = Some((Kind::Binary, BytesMut::from(&part[..]))),
            Item::Continue(part) | Item::Last(part)
                if self
                    .fragments
                    .as_ref()
                    .is_some_and(|(_, whole)| whole.len() + part.len() > self.max_message) =>
            {
                return Some(
                    self.end(Incoming::Lost(format!("a message of more than {} bytes", self.max_message))),
                );
            }
            Item::Continue(part) => {
                self.fragments.iter_mut().for_each(|(_, whole)| whole.extend_from_slice(&part))
            }
            Item::Last(part) => {
                let (kind, mut whole) = self.fragments.take()?;
                whole.extend_from_slice(&part);
                return Some(match kind {
                    Kind::Text => Incoming::Text(whole.freeze()),
                    Kind::Binary => Incoming::Binary(whole.freeze()),
                });
            }
        }
        None
    }

    fn end(&mut self, last: Incoming) -> Incoming {
        self.ended = true;
        last
    }
}

fn describe(error: &ProtocolError) -> String {
    error.to_string()
}

/// For how long a connection may not answer, or take nothing.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that may wait to be written.
const QUEUE: usize = 256;
/// The longest message of the main gateway: a GUILD_CREATE of a large guild is some megabytes.
pub(super) const MAX_MAIN_MESSAGE: usize = 16 << 20;
/// The longest message of a voice gateway: a Welcome to a group of thousands is some hundred kilobytes.
pub(super) const MAX_VOICE_MESSAGE: usize = 1 << 20;

#[cfg(test)]
mod tests;
