//! One call's voice session: joined by actix-voice's machines, so that only the loop differs.

use std::{
    net::SocketAddr,
    sync::mpsc::SyncSender,
    time::{Duration, Instant},
};

use actix_voice::{
    gateway::{
        heartbeat::{self, Heartbeat},
        payload::{Outgoing, SessionDescription, SpeakingFlags},
        session::{Action, Credentials, Endpoints, Scheme, Session, Start},
    },
    id::{ChannelId, GuildId, SessionId, Ssrc, Token, UserId},
    transport::{
        cipher::{Cipher, Mode},
        dave::{self, Group, IdentityKey, KeyChange},
        discovery::{self, Discovery},
    },
};
use bench_join::{JoinError, Message, Source, VoiceServer, Websocket, connect};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::UdpSocket,
    time::{sleep_until, timeout},
};

use crate::turn::{Change, Voice};

/// Joins, hands what is sent to the loop, and keeps the session until it ends.
///
/// # Errors
///
/// Why there is no session, or none any more.
pub async fn run(server: VoiceServer, source: Source, changes: &SyncSender<Change>) -> Result<(), JoinError> {
    let credentials = credentials(&server);
    let scheme = if std::env::var_os("SSL_CERT_FILE").is_some() { Scheme::Tls } else { Scheme::Plain };
    let url = credentials.url(scheme, Endpoints::Any).map_err(failed)?;
    let websocket = connect(&url).await?;
    let (user, channel) = (credentials.user, credentials.channel);
    let mode = Mode::Aes256GcmRtpsize.to_string();
    let start = Start::Identify { max_dave_protocol_version: 1, modes: vec![mode] };
    let session = Session::new(credentials, start, now());
    let group = Group::new(user, channel, IdentityKey::generate());
    let call = Call { session, group, websocket, heartbeat: None, socket: None, source, changes };
    call.run().await
}

struct Call<'a> {
    session: Session,
    group: Group,
    websocket: Websocket,
    heartbeat: Option<Heartbeat>,
    /// The socket, until the loop has it.
    socket: Option<(Ssrc, UdpSocket)>,
    source: Source,
    changes: &'a SyncSender<Change>,
}

impl Call<'_> {
    async fn run(mut self) -> Result<(), JoinError> {
        if self.source != Source::Idle {
            self.session.speaking(SpeakingFlags::MICROPHONE);
        }
        let mut ssrc = Ssrc(0);
        loop {
            self.drive(&mut ssrc).await?;
            let beat = self.heartbeat.as_ref().and_then(Heartbeat::deadline);
            let due = [self.session.deadline(), self.group.deadline(), beat].into_iter().flatten().min();
            tokio::select! {
                message = self.websocket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.session.text(text.as_bytes(), now()),
                    Some(Ok(Message::Binary(frame))) => self.session.binary(&frame, now()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(failed(error)),
                    None => return Err(failed("the voice gateway has closed the connection")),
                },
                () = sleep_until(due.unwrap_or_else(|| now() + AN_HOUR).into()) => {}
            }
        }
    }

    /// Carries out what session, group and heartbeat want done.
    async fn drive(&mut self, ssrc: &mut Ssrc) -> Result<(), JoinError> {
        loop {
            while let Some(action) = self.session.poll(now()) {
                self.execute(action, ssrc).await?;
            }
            if let Some(action) = self.heartbeat.as_mut().and_then(|heartbeat| heartbeat.poll(now())) {
                match action {
                    heartbeat::Action::Beat { nonce } => self.session.beat(nonce),
                    _ => return Err(failed("the voice gateway answers no heartbeat")),
                }
                continue;
            }
            match self.group.poll(now()) {
                Some(dave::Action::Send(command)) => self.session.command(command),
                Some(dave::Action::Install(KeyChange::Sender(key))) => {
                    self.change(Change::Key(*ssrc, key))?
                }
                Some(dave::Action::Fail(error)) => return Err(failed(error)),
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    async fn execute(&mut self, action: Action, ssrc: &mut Ssrc) -> Result<(), JoinError> {
        match action {
            Action::Send(Outgoing::Text(text)) => self.send(Message::text(text)).await?,
            Action::Send(Outgoing::Binary(frame)) => self.send(Message::binary(frame)).await?,
            Action::Beat(interval) => self.heartbeat = Some(Heartbeat::new(interval, 1, now())),
            Action::BeatNow => self.heartbeat.iter_mut().for_each(|heartbeat| heartbeat.requested(now())),
            Action::Acknowledged { nonce } => {
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.acknowledge(nonce, now());
                }
            }
            Action::Ready { ssrc: own, server, .. } => {
                *ssrc = own;
                let (socket, external) = discover(own, server).await?;
                self.socket = Some((own, socket));
                self.session.discovered(external, now());
            }
            Action::Established(description) => self.established(&description)?,
            Action::ClientsConnect(users) => self.group.clients_connect(&users),
            Action::ClientDisconnect(user) => self.group.client_disconnect(user),
            Action::Dave(event) => self.group.event(event, now()),
            Action::Fail(error) => return Err(failed(error)),
            _ => {}
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), JoinError> {
        self.websocket.send(message).await.map_err(failed)
    }

    fn established(&mut self, description: &SessionDescription) -> Result<(), JoinError> {
        let Some((ssrc, socket)) = self.socket.take() else {
            return Err(failed("a session is described twice, for which the floor is not made"));
        };
        let mode: Mode = description.mode.parse().map_err(failed)?;
        let cipher = Cipher::new(mode, &description.secret_key, 0);
        let socket = socket.into_std().map_err(failed)?;
        self.change(Change::Begin(Box::new(Voice::new(ssrc, socket, cipher))))?;
        self.group.described(description.dave_protocol_version);
        if description.dave_protocol_version == 0 {
            self.change(Change::Key(ssrc, dave::SenderKey::Plain))?;
        }
        Ok(())
    }

    fn change(&self, change: Change) -> Result<(), JoinError> {
        self.changes.try_send(change).map_err(|_| failed("the loop is gone, or far behind"))
    }
}

/// Finds our own address as the server sees it.
async fn discover(ssrc: Ssrc, server: SocketAddr) -> Result<(UdpSocket, SocketAddr), JoinError> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    let mut discovery = Discovery::new(ssrc, now());
    let mut buffer = [0; 2048];
    loop {
        match discovery.poll(now()) {
            Some(discovery::Action::Send(request)) => {
                socket.send(&request).await.map_err(failed)?;
            }
            Some(_) => return Err(failed("no answer to the discovery of our address")),
            None => {}
        }
        let patience = discovery.deadline().map_or(Duration::ZERO, |due| due - now());
        let Ok(received) = timeout(patience, socket.recv(&mut buffer)).await else { continue };
        let received = received.map_err(failed)?;
        if let Ok(external) = discovery.datagram(&buffer[..received]) {
            return Ok((socket, external));
        }
    }
}

fn credentials(server: &VoiceServer) -> Credentials {
    Credentials {
        guild: GuildId(server.guild),
        channel: ChannelId(server.channel),
        channel_kind: Default::default(),
        user: UserId(server.user),
        session_id: SessionId(server.session.clone()),
        token: Token(server.token.clone()),
        endpoint: server.endpoint.clone(),
    }
}

fn failed(cause: impl ToString) -> JoinError {
    JoinError(cause.to_string())
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

const AN_HOUR: Duration = Duration::from_secs(3600);
