//! What a call does with what its children and the bridge report: each is a fact for the machine.

use actix::{Context, Handler};

use super::{Call, JoinError, ResumePoint};
use crate::{
    actors::{
        dave::{self, DaveInput, FromDave},
        driven::{Driven, now},
        event::CallEventKind,
        gateway::{self, Discovered, FromGateway},
        listener::SpeakerLeft,
        meters::meters,
        speaker::{self, FromSpeaker},
        transport::{self, FromTransport},
    },
    bridge::Report,
    gateway::payload::SpeakingFlags,
    speaker::TrackEnd,
    transport::PathStatus,
};

impl Handler<Report> for Call {
    type Result = ();

    fn handle(&mut self, report: Report, ctx: &mut Context<Self>) {
        match report {
            Report::Credentials(credentials) => {
                self.joins.located(credentials.channel);
                self.recovery.credentials(credentials);
            }
            Report::EndpointLost => self.recovery.endpoint_lost(now()),
            Report::Moved(channel) => {
                self.joins.located(channel);
                self.recovery.moved(channel);
            }
            Report::NotMoved(failure) => self.joins.answer(&Err(JoinError::NotMoved(failure))),
            Report::Redirected(channel) => {
                self.joins.redirect(channel);
                self.recovery.redirected(channel);
            }
            Report::Requested => self.recovery.requested(now()),
            Report::Kicked => self.recovery.kicked(),
            Report::TakenOver => self.recovery.taken_over(),
            Report::Failed(failure) => self.recovery.join_failed(failure, now()),
            Report::MainSessionReplaced => self.recovery.main_session_replaced(now()),
            Report::MainGatewayLost => self.recovery.main_gateway_lost(now()),
            Report::MainGatewayRestored => self.recovery.main_gateway_restored(now()),
            Report::Suppression(suppression) => self.publish(CallEventKind::Suppression(suppression)),
            Report::GuildUnavailable => self.recovery.guild_unavailable(now()),
            Report::GuildAvailable => self.recovery.guild_available(now()),
            Report::GuildDeleted => self.recovery.guild_deleted(),
        }
        self.drive(ctx);
    }
}

impl Handler<FromGateway> for Call {
    type Result = ();

    fn handle(&mut self, FromGateway { generation, report }: FromGateway, ctx: &mut Context<Self>) {
        use gateway::Report;
        if !self.gateway.accepts(generation) {
            return;
        }
        match report {
            Report::Ready { ssrc, server, mode } => {
                self.start_transport(ssrc, server, mode, ctx);
            }
            Report::MediaServer(server) => self.transport.send(transport::ServerChanged(server)),
            Report::Established(description) => {
                self.tell_dave(DaveInput::Described(description.dave_protocol_version));
                self.transport.send(description);
            }
            Report::Resumed => {
                self.tell_dave(DaveInput::Resumed);
                self.transport.send(transport::Websocket::Resumed);
                self.recovery.resumed();
            }
            Report::SpeakingSent => self.acknowledge_speaking(),
            Report::Speaking { user, ssrc, flags } => {
                if let Some(user) = user {
                    self.transport.send(transport::SsrcAssigned { user, ssrc, flags });
                }
                self.publish(CallEventKind::Speaking { user, ssrc, flags });
            }
            Report::SsrcAssigned { user, ssrc } => {
                let flags = SpeakingFlags::NONE;
                self.transport.send(transport::SsrcAssigned { user, ssrc, flags });
            }
            Report::ClientsConnect(users) => {
                self.tell_dave(DaveInput::ClientsConnect(users.clone()));
                self.publish(CallEventKind::ClientsConnected(users));
            }
            Report::ClientDisconnect(user) => {
                self.tell_dave(DaveInput::ClientDisconnect(user));
                self.transport.send(transport::UserLeft(user));
                self.listening.listener.send(SpeakerLeft(user));
                self.publish(CallEventKind::ClientDisconnected(user));
            }
            Report::Dave(event) => self.tell_dave(DaveInput::Event(event)),
            Report::RoundTrip(round_trip) => {
                self.stats.gateway_round_trip = Some(round_trip);
                if self.dead_path.is_some() {
                    self.transport.send(transport::Websocket::Heard);
                }
            }
            Report::Malformed => self.stats.malformed += 1,
            Report::CommandDropped => self.stats.dropped_commands += 1,
            Report::Exited { cause, last_seq, queued_commands } => {
                self.gateway.take();
                queued_commands.into_iter().for_each(|command| self.send_or_queue(command));
                if let Some(ResumePoint { last_seq: known, .. }) = &mut self.resume_point {
                    *known = last_seq.or(*known);
                }
                self.transport.send(transport::Websocket::Lost(cause.websocket_loss()));
                self.recovery.gateway_lost(cause, now());
            }
        }
        self.drive(ctx);
    }
}

impl Handler<FromTransport> for Call {
    type Result = ();

    fn handle(&mut self, FromTransport { generation, report }: FromTransport, ctx: &mut Context<Self>) {
        use transport::Report;
        let current = self.transport.accepts(generation);
        match report {
            Report::Discovered(address) if current => {
                self.gateway.send(Discovered(address));
            }
            Report::Opened if current => self.recovery.opened(now()),
            Report::Path(status) if current => self.path_changed(status),
            Report::FailedFrames if current => self.tell_dave(DaveInput::FailedFrames),
            Report::Deaf(deafness, remedy) if current => self.is_deaf(deafness, remedy),
            Report::Exited { cause, stats } => {
                self.stats.add(&stats);
                self.transports_alive -= 1;
                if let (true, Some(cause)) = (current, cause) {
                    self.transport.take();
                    self.recovery.transport_lost(cause, now());
                }
            }
            Report::Discovered(_)
            | Report::Opened
            | Report::Path(_)
            | Report::FailedFrames
            | Report::Deaf(..) => {}
        }
        self.drive(ctx);
    }
}

impl Call {
    fn path_changed(&mut self, status: PathStatus) {
        self.dead_path = match status {
            PathStatus::Dead(loss) => Some(loss),
            PathStatus::Restored => None,
        };
        if self.dead_path.is_some() {
            self.stats.path_losses += 1;
            meters().path_lost();
        }
        self.publish(CallEventKind::MediaPath(status));
    }
}

impl Handler<FromDave> for Call {
    type Result = ();

    fn handle(&mut self, FromDave { generation, report }: FromDave, ctx: &mut Context<Self>) {
        use dave::Report;
        if !self.dave.accepts(generation) {
            return;
        }
        match report {
            Report::Send(command) => self.send_or_queue(command),
            Report::Install(change) => self.transport.send(change),
            Report::Settled => self.recovery.settled(),
            Report::State(state) => {
                self.stats.e2ee = state.clone();
                self.publish(CallEventKind::E2ee(state));
            }
            Report::UnannouncedMember(user) => self.publish(CallEventKind::UnannouncedMember(user)),
            Report::Exited(cause) => {
                self.dave.take();
                self.recovery.transport_lost(cause, now());
            }
        }
        self.drive(ctx);
    }
}

impl Handler<FromSpeaker> for Call {
    type Result = ();

    fn handle(&mut self, FromSpeaker { generation, report }: FromSpeaker, ctx: &mut Context<Self>) {
        use speaker::Report;
        if !self.speaker.accepts(generation) {
            return;
        }
        match report {
            Report::Speaking(flags) => self.send_speaking(flags),
            Report::Started(track) => self.publish(CallEventKind::TrackStarted(track)),
            Report::Stalled(track) => self.publish(CallEventKind::TrackStalled(track)),
            Report::Paused(track) => self.publish(CallEventKind::TrackPaused(track)),
            Report::Resumed(track) => self.publish(CallEventKind::TrackResumed(track)),
            Report::Seeked(track, at) => self.publish(CallEventKind::TrackSeeked(track, at)),
            Report::Looped(track, left) => self.publish(CallEventKind::TrackLooped(track, left)),
            Report::Reached(track, at) => self.publish(CallEventKind::TrackReached(track, at)),
            Report::Ended(track, end) => {
                self.track_ended(track, end);
            }
            Report::Exited { cause, counts } => {
                self.stats.speaker += counts;
                let end = if cause.is_none() { TrackEnd::Stopped } else { TrackEnd::SpeakerLost };
                self.end_tracks(&end);
                self.speaker.take();
                if cause.is_some() {
                    self.send_speaking(SpeakingFlags::NONE);
                    self.recovery.speaker_lost(now());
                }
            }
        }
        self.drive(ctx);
    }
}
