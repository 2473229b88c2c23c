//! Networks that freeze, and UDP paths that die or move.

use std::net::SocketAddr;
use std::time::Duration;

use actix_voice_loopback::{Discord, Echoes, NewSource, Rule};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::client::{Setup, Socket, Voice, plain, select_protocol};

/// The UDP side of a voice connection.
struct Media {
    socket: UdpSocket,
    relay: SocketAddr,
    ssrc: u32,
}

impl Media {
    async fn of(discord: &Discord, voice: &Voice) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let ssrc = u32::try_from(voice.ssrc).expect("an SSRC");
        Self { socket, relay: discord.relay().address(), ssrc }
    }

    async fn answer_to(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        self.socket.send_to(datagram, self.relay).await.expect("sent");
        let mut buffer = [0; 2_048];
        let length = timeout(Duration::from_secs(2), self.socket.recv(&mut buffer)).await.ok()?;
        Some(buffer[..length.expect("received")].to_vec())
    }

    /// The address that discovery tells, if it is answered.
    async fn discover(&self) -> Option<SocketAddr> {
        let mut request = [0; 74];
        request[..4].copy_from_slice(&[0, 1, 0, 70]);
        request[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        let answer = self.answer_to(&request).await?;
        let text = String::from_utf8(answer[8..72].to_vec()).expect("text");
        let port = u16::from_be_bytes([answer[72], answer[73]]);
        Some(SocketAddr::new(text.trim_end_matches('\0').parse().expect("an address"), port))
    }

    async fn is_echoed(&self) -> bool {
        self.answer_to(&[1, 2, 3, 4, 5, 6, 7, 8]).await.is_some()
    }
}

async fn connected(setup: &mut Setup) -> (Voice, Media) {
    let voice = setup.connect().await;
    let media = Media::of(&setup.discord, &voice).await;
    assert_eq!(media.discover().await, media.socket.local_addr().ok());
    (voice, media)
}

#[tokio::test(start_paused = true)]
async fn a_frozen_voice_websocket_is_silent_and_its_session_ends_without_heartbeats() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.freeze_voice(setup.bot.user_id);
    voice.beat(1, 0).await;
    assert!(timeout(Duration::from_secs(60), voice.socket.receive()).await.is_err(), "nothing comes back");
    assert!(setup.discord.connected_to(&setup.channel).is_empty(), "the server has given the session up");
    let mut again = setup.connect().await;
    again.beat(1, -1).await;
    again.socket.heartbeat_ack().await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_main_websocket_is_silent_and_its_session_goes_on_with_a_new_one() {
    let mut setup = Setup::new().await;
    let session = setup.main.ready["session_id"].clone();
    setup.discord.freeze_main(setup.bot.user_id);
    setup.main.socket.send(json!({"op": 1, "d": 2})).await;
    setup.main.join(&setup.channel).await;
    let ear = setup.channel.listener("ear");
    setup.main.socket.stays_silent().await;
    assert_eq!(setup.discord.members_of(&setup.channel), [ear.user_id], "op 4 was not read");

    let mut socket = Socket::open(&setup.discord.gateway_url(), "?v=10&encoding=json").await;
    socket.send(json!({"op": 6, "d": {"token": setup.bot.token, "session_id": session, "seq": 2}})).await;
    assert_eq!(socket.dispatch("VOICE_STATE_UPDATE").await["user_id"], ear.user_id.to_string());
    socket.dispatch("RESUMED").await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_main_session_is_lost_when_nobody_resumes_it() {
    let mut setup = Setup::new().await;
    let mut voice = setup.connect().await;
    setup.discord.freeze_main(setup.bot.user_id);
    // A minute until the heartbeat is overdue, and another for the resume that does not come.
    for _ in 0..12 {
        voice.beat(1, 0).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(voice.socket.close_code().await, 4014);
    assert!(setup.discord.members_of(&setup.channel).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_frozen_network_is_silent_on_all_three_ways() {
    let mut setup = Setup::new().await;
    let (mut voice, media) = connected(&mut setup).await;
    setup.discord.freeze_network(setup.bot.user_id);
    setup.main.socket.send(json!({"op": 1, "d": 4})).await;
    voice.beat(1, 0).await;
    setup.main.socket.stays_silent().await;
    voice.socket.stays_silent().await;
    assert!(!media.is_echoed().await);
}

#[tokio::test(start_paused = true)]
async fn a_dead_path_stays_dead_and_another_socket_finds_a_living_one() {
    let mut setup = Setup::new().await;
    let (voice, media) = connected(&mut setup).await;
    assert!(media.is_echoed().await);
    setup.discord.kill_media_path(setup.bot.user_id);
    assert!(!media.is_echoed().await);
    assert_eq!(media.discover().await, None);

    let other = Media::of(&setup.discord, &voice).await;
    assert_eq!(other.discover().await, other.socket.local_addr().ok());
    assert!(other.is_echoed().await);
}

#[tokio::test(start_paused = true)]
async fn a_moved_path_is_seen_elsewhere_by_discovery() {
    let mut setup = Setup::new().await;
    let (_voice, media) = connected(&mut setup).await;
    setup.discord.move_media_path(setup.bot.user_id);
    let local = media.socket.local_addr().expect("bound");
    let moved = media.discover().await.expect("the socket is reached where it is now");
    assert_ne!(moved.ip(), local.ip());
    assert_eq!(moved.port(), local.port());
    assert!(media.is_echoed().await);
}

#[tokio::test(start_paused = true)]
async fn echoes_stop_for_one_user_and_discovery_goes_on() {
    let mut setup = Setup::new().await;
    let (_voice, media) = connected(&mut setup).await;
    setup.discord.mute_echoes(setup.bot.user_id);
    assert!(!media.is_echoed().await);
    assert!(media.discover().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_relay_may_never_echo() {
    let mut setup = Setup::on(plain().echoes(Echoes::Never).start().await).await;
    let (_voice, media) = connected(&mut setup).await;
    assert!(!media.is_echoed().await);
}

#[tokio::test(start_paused = true)]
async fn an_address_can_be_selected_again_in_the_same_session() {
    let discord = plain().new_source(NewSource::Select).start().await;
    let mut setup = Setup::on(discord).await;
    let (mut voice, first) = connected(&mut setup).await;
    let ssrc = first.ssrc;
    let mode = "aead_aes256_gcm_rtpsize";
    let select = |media: &Media| {
        let mut select = select_protocol("udp", mode);
        select["d"]["data"]["port"] = json!(media.socket.local_addr().expect("bound").port());
        select
    };
    voice.socket.send(select(&first)).await;
    voice.socket.op(4).await;
    let second = Media::of(&setup.discord, &voice).await;
    second.discover().await.expect("discovery is answered before the address counts");
    assert_eq!(setup.discord.relay().address_of(ssrc), first.socket.local_addr().ok());
    voice.socket.send(select(&second)).await;
    let description = voice.socket.op(4).await;
    assert_eq!(description["mode"], mode);
    assert_ne!(description["secret_key"], voice.description["secret_key"]);
    assert_eq!(setup.discord.relay().address_of(ssrc), second.socket.local_addr().ok());
    let rules = setup.discord.violations().into_iter().map(|violation| violation.rule);
    assert!(rules.into_iter().all(|rule| rule != Rule::ForeignAddress));
}
