//! Speaker: sends a frame every 20 ms, from the sources that are attached to it.

use std::{collections::HashMap, sync::Arc};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, Recipient, StreamHandler,
    WeakRecipient,
};
use tokio::sync::watch;

use super::{
    driven::{Exit, now},
    meters::meters,
    metronome::{Pace, Tick, TickHandle, ticks},
    source::{Credit, Demand, Supplied, Supplier, Supply},
    voice_sender::VoiceSender,
};
use crate::{
    call::Cause,
    gateway::payload::SpeakingFlags,
    speaker::{Action, Counts, Pacer, ReadAhead, TrackEnd, TrackId},
};

/// **Call → Speaker.** Play this source.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Attach {
    pub(super) track: TrackId,
    pub(super) source: Recipient<Demand>,
    pub(super) flags: SpeakingFlags,
    pub(super) volume: f32,
    pub(super) read_ahead: ReadAhead,
}

/// **Call → Speaker.** Stop one track, or all.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct StopTracks(pub(super) Option<TrackId>);

/// **Call → Speaker.** Frames may flow this way; with none, tracks wait.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Connect(pub(super) Option<VoiceSender>);

/// **Call → Speaker.** What was ordered about speaking has been sent.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SpeakingSent;

/// **Call → Speaker.** Encode with this many bits per second.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Bitrate(pub(super) u32);

/// **Call → Speaker.** Say what was played.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Counts")]
pub(super) struct GetCounts;

/// **Call → Speaker.** Stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

/// **Speaker → Speaker.** The source of this track is no more; whatever it said was said before this.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct SourceGone(TrackId);

/// **Speaker → Call.** What the speaker with this number says.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct FromSpeaker {
    pub(super) generation: u64,
    pub(super) report: Report,
}

#[derive(Clone, Debug)]
pub(super) enum Report {
    Speaking(SpeakingFlags),
    Started(TrackId),
    Stalled(TrackId),
    Ended(TrackId, TrackEnd),
    /// The speaker is no more, and its tracks with it; without a cause if it was asked to stop.
    Exited {
        cause: Option<Cause>,
        counts: Counts,
    },
}

/// The actor over [`Pacer`].
pub(super) struct Speaker {
    generation: u64,
    pacer: Pacer,
    sources: HashMap<TrackId, AttachedSource>,
    sender: Option<VoiceSender>,
    owner: WeakRecipient<FromSpeaker>,
    pace: Pace,
    tick_handle: Option<TickHandle>,
    /// Frames that sources of tracks that are over supplied unasked.
    refused: u64,
    /// Frames that no transport took.
    unsent: u64,
    exit: Exit,
}

/// A source, and the sign by which it sees that its track is over.
struct AttachedSource {
    source: Recipient<Demand>,
    credit: Arc<Credit>,
    listening: watch::Sender<()>,
}

impl Speaker {
    pub(super) fn new(generation: u64, pacer: Pacer, pace: Pace, owner: WeakRecipient<FromSpeaker>) -> Self {
        Self {
            generation,
            pacer,
            sources: HashMap::new(),
            sender: None,
            owner,
            pace,
            tick_handle: None,
            refused: 0,
            unsent: 0,
            exit: Exit::Unforeseen,
        }
    }

    fn report(&self, report: Report) {
        if let Some(owner) = self.owner.upgrade() {
            owner.do_send(FromSpeaker { generation: self.generation, report });
        }
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        match action {
            Action::Demand(track, frames) => self.demand(track, frames, ctx),
            Action::Probe(track) => self.demand(track, 0, ctx),
            Action::Voice(frame) => {
                let taken = self.sender.as_ref().is_some_and(|sender| sender.send(&frame));
                self.unsent += u64::from(!taken);
            }
            Action::Speaking(flags) => self.report(Report::Speaking(flags)),
            Action::Started(track) => self.report(Report::Started(track)),
            Action::Stalled(track) => self.report(Report::Stalled(track)),
            Action::Ended(track, end) => {
                self.refused += self.sources.remove(&track).map_or(0, |attached| attached.credit.refused());
                self.report(Report::Ended(track, end));
            }
        }
    }

    /// Asks the source for frames, and notices when it is gone.
    fn demand(&mut self, track: TrackId, frames: usize, ctx: &mut Context<Self>) {
        let Some(AttachedSource { source, credit, listening }) = self.sources.get(&track) else { return };
        if !source.connected() {
            // Its last frames, and how it ended, may still be in the mailbox.
            ctx.address().do_send(SourceGone(track));
        } else if frames > 0 {
            credit.grant(frames);
            let to = ctx.address().recipient();
            let supplier = Supplier::new(track, to, Arc::clone(credit), listening.subscribe());
            source.do_send(Demand::new(frames, self.pacer.format(track), supplier));
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = self.pacer.counts();
        counts.unsent += self.unsent;
        counts.over_credit += self.refused;
        counts.over_credit += self.sources.values().map(|attached| attached.credit.refused()).sum::<u64>();
        counts
    }

    fn drive(&mut self, ctx: &mut Context<Self>) {
        let (now, before) = (now(), self.pacer.counts());
        while let Some(action) = self.pacer.poll(now) {
            self.carry_out(action, ctx);
        }
        meters().spoke(before, self.pacer.counts());
        if let Some(tick_handle) = &self.tick_handle {
            tick_handle.set(self.pacer.deadline());
        }
    }
}

impl Actor for Speaker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (tick_handle, ticks) = ticks(self.pace);
        self.tick_handle = Some(tick_handle);
        ctx.add_stream(ticks);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        let cause = self.exit.cause("Speaker");
        self.report(Report::Exited { cause, counts: self.counts() });
    }
}

impl StreamHandler<Tick> for Speaker {
    fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }
}

impl Handler<Attach> for Speaker {
    type Result = ();

    fn handle(&mut self, attach: Attach, ctx: &mut Context<Self>) {
        self.sources.insert(
            attach.track,
            AttachedSource {
                source: attach.source,
                credit: Arc::default(),
                listening: watch::Sender::new(()),
            },
        );
        self.pacer.attach(attach.track, attach.flags, attach.volume, attach.read_ahead);
        self.drive(ctx);
    }
}

impl Handler<Supply> for Speaker {
    type Result = ();

    fn handle(&mut self, Supply { track, what }: Supply, ctx: &mut Context<Self>) {
        match what {
            Supplied::Frame(frame) => self.pacer.supply(track, [frame], now()),
            Supplied::Frames(frames) => self.pacer.supply(track, frames, now()),
            Supplied::End(end) => self.pacer.finish(track, end),
        }
        self.drive(ctx);
    }
}

impl Handler<SourceGone> for Speaker {
    type Result = ();

    fn handle(&mut self, SourceGone(track): SourceGone, ctx: &mut Context<Self>) {
        self.pacer.source_lost(track);
        self.drive(ctx);
    }
}

impl Handler<StopTracks> for Speaker {
    type Result = ();

    fn handle(&mut self, StopTracks(which): StopTracks, ctx: &mut Context<Self>) {
        self.pacer.stop(which);
        self.drive(ctx);
    }
}

impl Handler<Connect> for Speaker {
    type Result = ();

    fn handle(&mut self, Connect(sender): Connect, ctx: &mut Context<Self>) {
        match &sender {
            Some(_) => self.pacer.link_up(now()),
            None => self.pacer.link_down(),
        }
        self.sender = sender;
        self.drive(ctx);
    }
}

impl Handler<SpeakingSent> for Speaker {
    type Result = ();

    fn handle(&mut self, _: SpeakingSent, ctx: &mut Context<Self>) {
        self.pacer.speaking_sent(now());
        self.drive(ctx);
    }
}

impl Handler<Bitrate> for Speaker {
    type Result = ();

    fn handle(&mut self, Bitrate(bitrate): Bitrate, _: &mut Context<Self>) {
        // What libopus does not take leaves the bitrate as it was.
        let _ = self.pacer.set_bitrate(bitrate);
    }
}

impl Handler<GetCounts> for Speaker {
    type Result = MessageResult<GetCounts>;

    fn handle(&mut self, _: GetCounts, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.counts())
    }
}

impl Handler<Stop> for Speaker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.exit = Exit::Asked;
        ctx.stop();
    }
}

#[cfg(feature = "faults")]
super::fault::panics_on_demand!(Speaker);
