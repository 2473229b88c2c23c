//! What a call does with what its manager and its user ask of it.

use actix::{AsyncContext, Context, Handler, ResponseFuture};

use super::{Attach, AwaitEnd, Call, Enter, Entered, NewBridge, Part, TellStats, Terms, VerificationCode};
use crate::{
    actors::{
        CallStats, Driven, SpeakError,
        bridge::{Adopt, Leave, Seek, SeekAgain},
        dave::TellFingerprints,
        manager::JoinError,
        now,
        speaker::{self, Bitrate, Hush},
        transport,
    },
    bridge::JoinFailure,
};

impl Handler<Enter> for Call {
    type Result = ();

    fn handle(&mut self, Enter { channel, entered }: Enter, ctx: &mut Context<Self>) {
        if self.recovery.is_over() {
            return self.late.push(entered);
        }
        if self.seeking == Some(channel) {
            return self.entering.push(entered);
        }
        let elsewhere = self.seeking.is_some();
        self.answer(&Entered::Failed(JoinError::NotMoved(JoinFailure::Superseded)));
        if self.recovery.is_live() && self.recovery.channel() == Some(channel) {
            // Whoever asked may no longer wait.
            let _ = entered.send(Entered::There);
            if !elsewhere {
                return;
            }
        } else {
            self.entering.push(entered);
            self.seeking = Some(channel);
        }
        let Terms { guild, generation, bridge, .. } = &self.terms;
        let call = ctx.address().downgrade().recipient();
        bridge.do_send(Seek { guild: *guild, channel, generation: *generation, call });
        self.drive(ctx);
    }
}

impl Handler<VerificationCode> for Call {
    type Result = ResponseFuture<Option<String>>;

    fn handle(&mut self, VerificationCode(user): VerificationCode, _: &mut Context<Self>) -> Self::Result {
        let dave = self.dave.clone();
        Box::pin(async move {
            let fingerprints = dave?.send(TellFingerprints(user)).await.ok()??;
            // scrypt, slow on purpose.
            actix_rt::task::spawn_blocking(move || fingerprints.verification_code()).await.ok()?
        })
    }
}

impl Handler<Attach> for Call {
    type Result = Result<(), SpeakError>;

    fn handle(&mut self, Attach(attach): Attach, _: &mut Context<Self>) -> Self::Result {
        if self.recovery.is_over() {
            return Err(SpeakError::NotJoined(self.terms.guild));
        }
        self.tracks.attached(attach.track);
        self.to_speaker(attach);
        Ok(())
    }
}

impl Handler<AwaitEnd> for Call {
    type Result = ();

    fn handle(&mut self, AwaitEnd { track, ended }: AwaitEnd, _: &mut Context<Self>) {
        self.tracks.await_end(track, ended);
    }
}

impl Handler<NewBridge> for Call {
    type Result = ();

    fn handle(&mut self, NewBridge(bridge): NewBridge, ctx: &mut Context<Self>) {
        let Terms { guild, generation, .. } = self.terms;
        let call = || ctx.address().downgrade().recipient();
        if let Some(credentials) = self.recovery.last_credentials().cloned() {
            bridge.do_send(Adopt { credentials, generation, call: call() });
        }
        if self.recovery.is_over() {
            bridge.do_send(Leave(guild));
        } else if let Some(channel) = self.seeking {
            bridge.do_send(Seek { guild, channel, generation, call: call() });
        } else if self.recovery.is_joining() {
            bridge.do_send(SeekAgain(guild));
        }
        self.terms.bridge = bridge;
    }
}

impl Handler<Hush> for Call {
    type Result = ();

    fn handle(&mut self, hush: Hush, _: &mut Context<Self>) {
        self.to_speaker(hush);
    }
}

impl Handler<Bitrate> for Call {
    type Result = ();

    fn handle(&mut self, Bitrate(bitrate): Bitrate, _: &mut Context<Self>) {
        self.terms.encoder.bitrate = bitrate;
        self.to_speaker(Bitrate(bitrate));
    }
}

impl Handler<Part> for Call {
    type Result = ();

    fn handle(&mut self, Part { reason, parted }: Part, ctx: &mut Context<Self>) {
        self.parting.extend(parted);
        self.recovery.leave(reason, now());
        self.drive(ctx);
    }
}

impl Handler<TellStats> for Call {
    type Result = ResponseFuture<Option<CallStats>>;

    fn handle(&mut self, _: TellStats, _: &mut Context<Self>) -> Self::Result {
        let (transport, speaker) = (self.transport.clone(), self.speaker.clone());
        let going = self.transports_alive > usize::from(transport.is_some());
        let mut stats = self.stats.clone();
        Box::pin(async move {
            if going {
                return None;
            }
            if let Some(transport) = transport {
                stats.add(&transport.send(transport::TellStats).await.ok()?);
            }
            if let Some(speaker) = speaker {
                stats.speaker += speaker.send(speaker::TellCounts).await.ok()?;
            }
            Some(stats)
        })
    }
}

#[cfg(feature = "faults")]
impl Handler<crate::actors::fault::Panic> for Call {
    type Result = ();

    fn handle(&mut self, fault: crate::actors::fault::Panic, _: &mut Context<Self>) {
        use crate::actors::fault::{PanicNow, Victim};
        let (gateway, transport, speaker) =
            (self.gateway.as_ref(), self.transport.as_ref(), self.speaker.as_ref());
        match fault.victim {
            Victim::Call => panic!("a test made the Call panic"),
            Victim::Bridge => {}
            Victim::Gateway => gateway.into_iter().for_each(|gateway| gateway.do_send(PanicNow)),
            Victim::Heartbeater => gateway.into_iter().for_each(|gateway| gateway.do_send(fault)),
            Victim::Transport => transport.into_iter().for_each(|transport| transport.do_send(PanicNow)),
            Victim::Speaker => speaker.into_iter().for_each(|speaker| speaker.do_send(PanicNow)),
            Victim::Dave => self.dave.iter().for_each(|dave| dave.do_send(PanicNow)),
        }
    }
}
