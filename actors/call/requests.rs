//! What a call does with what its manager and its user ask of it.

use actix::{AsyncContext, Context, Handler, ResponseFuture};

use super::{
    AttachTrack, AwaitTrackEnd, Call, DisconnectCall, GetStats, GetVerificationCode, IsOver, JoinChannel,
    NewBridge, Release, joins::Requested,
};
use crate::{
    actors::{
        dave::GetFingerprints,
        driven::{Driven, now},
        listener::GetHeardStats,
        speaker::{self, AskTrack, Bitrate, SetFilters, StopTracks},
        stats::CallStats,
        transport,
    },
    bridge::Request,
};

impl Handler<JoinChannel> for Call {
    type Result = ();

    fn handle(&mut self, join: JoinChannel, ctx: &mut Context<Self>) {
        let channel = join.channel;
        if self.recovery.is_over() {
            return self.ending.backlog.join(join);
        }
        let appearance = self.joins.appear(join.flags);
        // One that is asked for and told, but has no session yet, is not reached.
        let here = self.recovery.channel() == Some(channel) && self.joins.channel() != Some(channel);
        if self.recovery.is_live() && here {
            let elsewhere = self.joins.channel().is_some() || appearance == Requested::New;
            self.joins.supersede();
            // Whoever asked may no longer wait.
            let _ = join.outcome.send(self.joined(ctx));
            if !elsewhere {
                return;
            }
        } else if self.joins.wait(join) == Requested::Already && appearance == Requested::Already {
            return;
        }
        self.ask_bridge(self.joins.request(channel));
        self.drive(ctx);
    }
}

impl Handler<IsOver> for Call {
    type Result = bool;

    fn handle(&mut self, _: IsOver, _: &mut Context<Self>) -> bool {
        self.recovery.is_over()
    }
}

impl Handler<GetVerificationCode> for Call {
    type Result = ResponseFuture<Option<String>>;

    fn handle(
        &mut self,
        GetVerificationCode(user): GetVerificationCode,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let dave = self.dave.addr().cloned();
        Box::pin(async move {
            let fingerprints = dave?.send(GetFingerprints(user)).await.ok()??;
            // scrypt, slow on purpose.
            actix_rt::task::spawn_blocking(move || fingerprints.verification_code()).await.ok()?
        })
    }
}

impl Handler<AttachTrack> for Call {
    type Result = ();

    fn handle(&mut self, track: AttachTrack, ctx: &mut Context<Self>) {
        if self.recovery.is_over() {
            return self.ending.backlog.attach(track, self.context.guild);
        }
        let AttachTrack { attach, attached, .. } = track;
        self.tracks.attached(attach.track);
        self.speaker.send(attach);
        // Whoever asked may no longer wait.
        let _ = attached.send(Ok(ctx.address()));
    }
}

impl Handler<AwaitTrackEnd> for Call {
    type Result = ();

    fn handle(&mut self, AwaitTrackEnd { track, ended }: AwaitTrackEnd, _: &mut Context<Self>) {
        self.tracks.await_end(track, ended);
    }
}

impl Handler<NewBridge> for Call {
    type Result = ();

    fn handle(&mut self, NewBridge(bridge): NewBridge, _: &mut Context<Self>) {
        if self.is_finished() {
            return;
        }
        self.context.bridge = bridge;
        if let Some(credentials) = self.recovery.last_credentials().cloned() {
            self.ask_bridge(Request::Adopt { credentials, flags: self.joins.flags() });
        }
        if self.recovery.is_over() {
            self.ask_bridge(Request::Leave);
        } else if let Some(channel) = self.joins.channel() {
            self.ask_bridge(self.joins.request(channel));
        } else if self.recovery.is_joining() {
            self.ask_bridge(Request::Rejoin);
        }
    }
}

impl Handler<AskTrack> for Call {
    type Result = ();

    fn handle(&mut self, ask: AskTrack, _: &mut Context<Self>) {
        self.speaker.send(ask);
    }
}

impl Handler<SetFilters> for Call {
    type Result = ();

    fn handle(&mut self, SetFilters(filters): SetFilters, _: &mut Context<Self>) {
        self.filters = filters.clone();
        self.speaker.send(SetFilters(filters));
    }
}

impl Handler<StopTracks> for Call {
    type Result = ();

    fn handle(&mut self, stop: StopTracks, _: &mut Context<Self>) {
        self.speaker.send(stop);
    }
}

impl Handler<Bitrate> for Call {
    type Result = ();

    fn handle(&mut self, Bitrate(bitrate): Bitrate, _: &mut Context<Self>) {
        self.context.encoder.bitrate = bitrate;
        self.speaker.send(Bitrate(bitrate));
    }
}

impl Handler<DisconnectCall> for Call {
    type Result = ();

    fn handle(&mut self, DisconnectCall { reason, ended }: DisconnectCall, ctx: &mut Context<Self>) {
        self.ending.waiters.extend(ended);
        // What was to follow this call is not wanted any more either.
        self.ending.backlog.cancel(&reason.clone().into(), self.context.guild);
        if self.is_finished() {
            return self.answer_disconnects();
        }
        self.recovery.disconnect(reason, now());
        self.drive(ctx);
    }
}

impl Handler<Release> for Call {
    type Result = ();

    fn handle(&mut self, _: Release, ctx: &mut Context<Self>) {
        self.release(ctx);
    }
}

impl Handler<GetStats> for Call {
    type Result = ResponseFuture<Option<CallStats>>;

    fn handle(&mut self, _: GetStats, _: &mut Context<Self>) -> Self::Result {
        let (transport, speaker) = (self.transport.addr().cloned(), self.speaker.addr().cloned());
        let listener = self.listening.listener.addr().cloned();
        let going = self.transports_alive > usize::from(transport.is_some());
        let mut stats = self.stats.clone();
        Box::pin(async move {
            if going {
                return None;
            }
            if let Some(transport) = transport {
                stats.add(&transport.send(transport::GetStats).await.ok()?);
            }
            if let Some(speaker) = speaker {
                stats.speaker += speaker.send(speaker::GetCounts).await.ok()?;
            }
            if let Some(listener) = listener {
                // One that stops has told what it did.
                stats.add_heard(listener.send(GetHeardStats).await.unwrap_or_default());
            }
            Some(stats)
        })
    }
}

#[cfg(feature = "faults")]
impl Handler<crate::actors::fault::RefuseSends> for Call {
    type Result = ();

    fn handle(&mut self, fault: crate::actors::fault::RefuseSends, _: &mut Context<Self>) {
        self.transport.send(fault);
    }
}

#[cfg(feature = "faults")]
impl Handler<crate::actors::fault::Panic> for Call {
    type Result = ();

    fn handle(&mut self, fault: crate::actors::fault::Panic, _: &mut Context<Self>) {
        use crate::actors::fault::{PanicNow, Victim};
        match fault.victim {
            Victim::Call => panic!("a test made the Call panic"),
            Victim::VoiceManager | Victim::Bridge => {}
            Victim::Gateway => self.gateway.send(PanicNow),
            Victim::Heartbeater => self.gateway.send(fault),
            Victim::Transport => self.transport.send(PanicNow),
            Victim::Speaker => self.speaker.send(PanicNow),
            Victim::Dave => self.dave.send(PanicNow),
            Victim::Listener => self.listening.listener.send(PanicNow),
        }
    }
}
