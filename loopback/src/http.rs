//! HTTP on the port of the main gateway: the one request of Discord's REST interface that gateways need, and websockets' first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::shared::Shared;

/// A stream whose first bytes were read already, and are read again.
pub(crate) struct Replayed<S> {
    pub(crate) stream: S,
    head: Vec<u8>,
    read: usize,
}

/// Reads the head of a request. A request for the gateway is answered, and there is no websocket then.
pub(crate) async fn read_head<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    shared: &Shared,
) -> io::Result<Option<Replayed<S>>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let text = String::from_utf8_lossy(&head);
    if !text.starts_with(API) {
        return Ok(Some(Replayed { stream, head, read: 0 }));
    }
    let (status, body) = if text.starts_with(GATEWAY_BOT) {
        shared.with(|state, now| state.gateway_bot(header(&text, "authorization"), now))
    } else {
        (404, serde_json::json!({"message": "404: Not Found", "code": 0}))
    };
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// The value of a header.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .map(|(field, value)| (field, value.trim()))
        .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let again = &this.head[this.read..];
        if again.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let some = again.len().min(into.remaining());
        into.put_slice(&again[..some]);
        this.read += some;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

const API: &str = "GET /api/";
/// <https://docs.discord.com/developers/events/gateway#get-gateway-bot>
const GATEWAY_BOT: &str = "GET /api/v10/gateway/bot ";
/// A handshake has some hundred bytes.
const HEAD_MAX: usize = 16_384;
