//! What a call does with what its children and the bridge report: each is a fact for the machine.

use actix::{Context, Handler};

use super::{Call, Entered};
use crate::{
    actors::{
        CallEventKind, Driven, JoinError,
        bridge::FromBridge,
        dave::{self, FromDave, Tell},
        gateway::{self, Discovered, FromGateway},
        now,
        speaker::{self, Asked, FromSpeaker},
        transport::{self, FromTransport},
    },
    gateway::payload::SpeakingFlags,
    speaker::TrackEnd,
};

impl Handler<FromBridge> for Call {
    type Result = ();

    fn handle(&mut self, report: FromBridge, ctx: &mut Context<Self>) {
        match report {
            FromBridge::Credentials(credentials) => self.recovery.credentials(credentials),
            FromBridge::EndpointLost => self.recovery.endpoint_lost(now()),
            FromBridge::Moved(channel) => {
                self.recovery.moved(channel);
                self.publish(CallEventKind::Moved(channel));
            }
            FromBridge::NotMoved(failure) => self.answer(&Entered::Failed(JoinError::NotMoved(failure))),
            FromBridge::Disconnected => self.recovery.disconnected(),
            FromBridge::Failed(failure) => self.recovery.join_failed(failure, now()),
            FromBridge::MainSessionReplaced => self.recovery.session_replaced(now()),
            FromBridge::CutOff => self.recovery.cut_off(),
            FromBridge::Back => self.recovery.back(now()),
            FromBridge::Suppression(silenced) => self.publish(CallEventKind::Suppression(silenced)),
            FromBridge::GuildDeleted => self.recovery.guild_deleted(),
        }
        self.drive(ctx);
    }
}

impl Handler<FromGateway> for Call {
    type Result = ();

    fn handle(&mut self, FromGateway { generation, report }: FromGateway, ctx: &mut Context<Self>) {
        use gateway::Report;
        if generation != self.gateway_generation || self.gateway.is_none() {
            return;
        }
        match report {
            Report::Ready { ssrc, server, modes } => {
                self.recovery.offered(&modes);
                self.start_transport(ssrc, server, ctx);
            }
            Report::Established(description) => {
                self.tell_dave(Tell::Described(description.dave_protocol_version));
                self.to_transport(description);
            }
            Report::Resumed => {
                self.tell_dave(Tell::Resumed);
                self.recovery.resumed();
            }
            Report::SpeakingSent => self.acknowledge_speaking(),
            Report::Speaking { user, ssrc, flags } => {
                if let Some(user) = user {
                    self.to_transport(transport::Mapped { user, ssrc });
                }
                self.publish(CallEventKind::Speaking { user, ssrc, flags });
            }
            Report::Mapped { user, ssrc } => self.to_transport(transport::Mapped { user, ssrc }),
            Report::ClientsConnect(users) => {
                self.tell_dave(Tell::ClientsConnect(users.clone()));
                self.publish(CallEventKind::ClientsConnected(users));
            }
            Report::ClientDisconnect(user) => {
                self.tell_dave(Tell::ClientDisconnect(user));
                self.to_transport(transport::Unmapped(user));
                self.publish(CallEventKind::ClientDisconnected(user));
            }
            Report::Dave(event) => self.tell_dave(Tell::Event(event)),
            Report::RoundTrip(round_trip) => self.stats.gateway_round_trip = Some(round_trip),
            Report::Malformed => self.stats.malformed += 1,
            Report::CommandDropped => self.stats.dropped_commands += 1,
            Report::Exited { cause, last_seq, queued_commands } => {
                self.gateway = None;
                queued_commands.into_iter().for_each(|command| self.say(command));
                self.last_seq = last_seq.or(self.last_seq);
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
        let current = generation == self.transport_generation && self.transport.is_some();
        match report {
            Report::Discovered(address) if current => {
                if let Some(gateway) = &self.gateway {
                    gateway.do_send(Discovered(address));
                }
            }
            Report::Opened if current => self.recovery.opened(now()),
            Report::FailedFrames if current => self.tell_dave(Tell::FailedFrames),
            Report::Exited { cause, stats } => {
                self.stats.add(&stats);
                self.transports_alive -= 1;
                if let (true, Some(cause)) = (current, cause) {
                    self.transport = None;
                    self.recovery.transport_lost(cause, now());
                }
            }
            Report::Discovered(_) | Report::Opened | Report::FailedFrames => {}
        }
        self.drive(ctx);
    }
}

impl Handler<FromDave> for Call {
    type Result = ();

    fn handle(&mut self, FromDave { generation, report }: FromDave, ctx: &mut Context<Self>) {
        use dave::Report;
        if generation != self.dave_generation {
            return;
        }
        match report {
            Report::Send(command) => self.say(command),
            Report::Install(change) => self.to_transport(change),
            Report::Settled => self.recovery.settled(),
            Report::State(state) => {
                self.stats.e2ee = state.clone();
                self.publish(CallEventKind::E2ee(state));
            }
            Report::Exited(cause) => {
                self.dave = None;
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
        if generation != self.speaker_generation {
            return;
        }
        match report {
            Report::Speaking(flags) => self.say_speaking(flags),
            Report::Started(track) => self.publish(CallEventKind::TrackStarted(track)),
            Report::Stalled(track) => self.publish(CallEventKind::TrackStalled(track)),
            Report::Ended(track, end) => {
                self.track_ended(track, end);
            }
            Report::Exited { asked, counts } => {
                self.stats.speaker += counts;
                let end = if asked == Asked::Yes { TrackEnd::Stopped } else { TrackEnd::SpeakerLost };
                self.end_tracks(&end);
                self.speaker = None;
                if asked == Asked::No {
                    self.say_speaking(SpeakingFlags::NONE);
                    self.recovery.speaker_lost(now());
                }
            }
        }
        self.drive(ctx);
    }
}
