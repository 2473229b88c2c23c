//! What a server may do to a websocket, seen from the gateways' side.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{
        self, Utf8Bytes,
        protocol::frame::{
            CloseFrame, Frame as RawFrame,
            coding::{CloseCode as ServerCode, Data, OpCode},
        },
    },
};

use super::*;
use crate::actors::config::{Config, Encryption};

type Server = WebSocketStream<TcpStream>;

/// A server and the two halves of a connection to it, on which a message has at most 100 bytes.
async fn connection() -> (Server, Writer, Reader) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let accepted = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        accept_async(stream).await.expect("a websocket")
    };
    let tls = Config::local().tls(Encryption::None);
    let (server, opened) = tokio::join!(accepted, open(url, tls, 100));
    let (writer, reader) = opened.expect("it opens");
    (server, writer, reader)
}

async fn next(reader: &mut Reader) -> Option<Incoming> {
    tokio::time::timeout(Duration::from_secs(5), reader.next()).await.expect("something in time")
}

async fn received(server: &mut Server) -> tungstenite::Message {
    let received = tokio::time::timeout(Duration::from_secs(5), server.next()).await;
    received.expect("something in time").expect("the connection stays").expect("a message")
}

/// A message in several frames.
async fn send_in_parts(server: &mut Server, kind: Data, parts: &[&[u8]]) {
    for (at, part) in parts.iter().enumerate() {
        let kind = if at == 0 { kind } else { Data::Continue };
        let frame = RawFrame::message(part.to_vec(), OpCode::Data(kind), at + 1 == parts.len());
        server.send(tungstenite::Message::Frame(frame)).await.expect("it is sent");
    }
}

#[actix::test]
async fn a_message_in_fragments_arrives_whole() {
    let (mut server, _writer, mut reader) = connection().await;
    send_in_parts(&mut server, Data::Text, &[b"one, ", b"two, ", b"three"]).await;
    send_in_parts(&mut server, Data::Binary, &[&[1, 2], &[3]]).await;
    server.send("whole".into()).await.expect("it is sent");
    assert_eq!(next(&mut reader).await, Some(Incoming::Text(Bytes::from_static(b"one, two, three"))));
    assert_eq!(next(&mut reader).await, Some(Incoming::Binary(Bytes::from_static(&[1, 2, 3]))));
    assert_eq!(next(&mut reader).await, Some(Incoming::Text(Bytes::from_static(b"whole"))));
}

#[actix::test]
async fn fragments_may_be_as_long_together_as_a_message_and_no_longer() {
    let (mut server, _writer, mut reader) = connection().await;
    send_in_parts(&mut server, Data::Binary, &[&[7; 50], &[7; 30], &[7; 20]]).await;
    assert_eq!(next(&mut reader).await, Some(Incoming::Binary(vec![7; 100].into())));
    send_in_parts(&mut server, Data::Binary, &[&[7; 50], &[7; 30], &[7; 21]]).await;
    let too_long = Incoming::Lost("a message of more than 100 bytes".into());
    assert_eq!(next(&mut reader).await, Some(too_long));
    assert_eq!(next(&mut reader).await, None, "it ends with this");
}

#[actix::test]
async fn a_ping_is_answered_with_what_it_holds_also_between_two_fragments() {
    let (mut server, _writer, mut reader) = connection().await;
    let first = RawFrame::message("be".as_bytes().to_vec(), OpCode::Data(Data::Text), false);
    let last = RawFrame::message("fore".as_bytes().to_vec(), OpCode::Data(Data::Continue), true);
    server.send(tungstenite::Message::Frame(first)).await.expect("it is sent");
    server.send(tungstenite::Message::Ping(Bytes::from_static(b"there?"))).await.expect("it is sent");
    server.send(tungstenite::Message::Frame(last)).await.expect("it is sent");
    assert_eq!(next(&mut reader).await, Some(Incoming::Text(Bytes::from_static(b"before"))));
    assert_eq!(received(&mut server).await, tungstenite::Message::Pong(Bytes::from_static(b"there?")));
}

#[actix::test]
async fn a_pong_and_a_server_that_breaks_off_mean_nothing_and_a_loss() {
    let (mut server, _writer, mut reader) = connection().await;
    server.send(tungstenite::Message::Pong(Bytes::new())).await.expect("it is sent");
    drop(server);
    let Some(Incoming::Lost(why)) = next(&mut reader).await else { panic!("it is lost") };
    assert_eq!(why, "the connection ended without a close frame");
    assert_eq!(next(&mut reader).await, None, "it ends with this");
}

#[actix::test]
async fn the_code_with_which_the_server_closes_is_told_and_it_may_give_none() {
    let reason = CloseFrame { code: ServerCode::from(4014), reason: Utf8Bytes::from_static("kicked") };
    for (reason, code) in [(Some(reason), Some(4014)), (None, None)] {
        let (mut server, _writer, mut reader) = connection().await;
        server.close(reason).await.expect("it closes");
        assert_eq!(next(&mut reader).await, Some(Incoming::Closed(code)));
        assert_eq!(next(&mut reader).await, None, "it ends with this");
    }
}

#[actix::test]
async fn what_was_queued_before_a_close_is_written_before_it() {
    let (mut server, writer, _reader) = connection().await;
    writer.send(Outgoing::Text("text".into())).expect("there is room");
    writer.send(Outgoing::Binary(Bytes::from_static(&[26, 1]))).expect("there is room");
    let written = writer.written();
    writer.close(4000);
    tokio::time::timeout(Duration::from_secs(5), written).await.expect("it is written in time");
    assert_eq!(received(&mut server).await, tungstenite::Message::text("text"));
    assert_eq!(received(&mut server).await, tungstenite::Message::Binary(Bytes::from_static(&[26, 1])));
    let tungstenite::Message::Close(Some(closed)) = received(&mut server).await else { panic!("no close") };
    assert_eq!(u16::from(closed.code), 4000);
}

#[actix::test]
async fn a_connection_that_takes_nothing_is_stuck_and_not_a_queue_without_end() {
    let (_server, writer, _reader) = connection().await;
    // Nothing is written meanwhile: this task does not let others run.
    let taken = (0..10_000).take_while(|_| writer.send(Outgoing::Text("x".into())).is_ok()).count();
    assert_eq!(taken, QUEUE);
    assert_eq!(writer.send(Outgoing::Text("x".into())), Err(Stuck));
}
