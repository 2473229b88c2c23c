//! Speaker: sends a frame every 20 ms, from the sources that are attached to it.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message, MessageResult, Recipient, WeakRecipient,
};
use tokio::sync::{oneshot, watch};

use super::{
    driven::{Exit, now},
    meters::meters,
    metronome::{Pace, Paced, TickHandle},
    source::{Credit, Demand, Supplied, Supplier, Supply},
    voice_sender::VoiceSender,
};
use crate::{
    audio::filter::Filters,
    call::Cause,
    gateway::payload::SpeakingFlags,
    speaker::{Action, Counts, Pacer, Repeat, TrackCommand, TrackEnd, TrackId, TrackSettings, TrackState},
};

/// **Call → Speaker.** Play this source.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Attach {
    pub(super) track: TrackId,
    pub(super) source: Recipient<Demand>,
    pub(super) settings: TrackSettings,
}

/// **CallHandle → Call → Speaker.** Ask something of a track.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct AskTrack {
    pub(super) track: TrackId,
    pub(super) ask: TrackRequest,
}

/// What is asked of a track. Of one that is over, nobody answers.
#[derive(Debug)]
pub(super) enum TrackRequest {
    Command(TrackCommand, oneshot::Sender<()>),
    Seek(Duration, oneshot::Sender<Result<Duration, String>>),
    GetState(oneshot::Sender<TrackState>),
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

/// **CallHandle → Call → Speaker.** Do this to all that is heard in the call.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SetFilters(pub(super) Filters);

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

/// **Speaker → Speaker.** What a turn of the arbiter has left to be done.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
enum AfterTurn {
    CarryOut,
    Panicked,
}

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
    Paused(TrackId),
    Resumed(TrackId),
    Seeked(TrackId, Duration),
    Looped(TrackId, Repeat),
    Reached(TrackId, Duration),
    /// The speaker is no more, and its tracks with it; without a cause if it was asked to stop.
    Exited {
        cause: Option<Cause>,
        counts: Counts,
    },
}

/// The actor over [`Pacer`].
pub(super) struct Speaker {
    generation: u64,
    playout: Rc<RefCell<Playout>>,
    sources: HashMap<TrackId, AttachedSource>,
    owner: WeakRecipient<FromSpeaker>,
    pace: Pace,
    tick_handle: Option<TickHandle>,
    /// Frames that sources of tracks that are over supplied unasked.
    refused: u64,
    exit: Exit,
}

/// What sends the frames: it is called by each turn of the arbiter, for all of its speakers one after the other. What else is to
/// be done then, once for many frames, is left to the actor.
struct Playout {
    pacer: Pacer,
    sender: Option<VoiceSender>,
    /// Frames that no transport took.
    unsent: u64,
    left: VecDeque<Action>,
    speaker: Option<Recipient<AfterTurn>>,
    #[cfg(feature = "faults")]
    panics: bool,
}

impl Playout {
    /// Sends what is due.
    fn play(&mut self) {
        let (now, before) = (now(), self.pacer.counts());
        while let Some(action) = self.pacer.poll(now) {
            match action {
                Action::Voice(frame) => {
                    let taken = self.sender.as_ref().is_some_and(|sender| sender.send(&frame));
                    self.unsent += u64::from(!taken);
                }
                action => self.left.push_back(action),
            }
        }
        meters().spoke(before, self.pacer.counts());
    }

    fn tell(&self, what: AfterTurn) {
        if let Some(speaker) = &self.speaker {
            speaker.do_send(what);
        }
    }
}

impl Paced for Playout {
    fn tick(&mut self) -> Option<Instant> {
        #[cfg(feature = "faults")]
        assert!(!self.panics, "a test made the turn of a Speaker panic");
        self.play();
        if !self.left.is_empty() {
            self.tell(AfterTurn::CarryOut);
        }
        self.pacer.deadline()
    }

    fn panicked(&mut self) {
        self.tell(AfterTurn::Panicked);
    }
}

/// A source, and the sign by which it sees that its track is over.
struct AttachedSource {
    source: Recipient<Demand>,
    credit: Arc<Credit>,
    listening: watch::Sender<()>,
    /// Who waits for it to go on from elsewhere.
    seeking: Option<oneshot::Sender<Result<Duration, String>>>,
}

impl Speaker {
    pub(super) fn new(generation: u64, pacer: Pacer, pace: Pace, owner: WeakRecipient<FromSpeaker>) -> Self {
        Self {
            generation,
            playout: Rc::new(RefCell::new(Playout {
                pacer,
                sender: None,
                unsent: 0,
                left: VecDeque::new(),
                speaker: None,
                #[cfg(feature = "faults")]
                panics: false,
            })),
            sources: HashMap::new(),
            owner,
            pace,
            tick_handle: None,
            refused: 0,
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
            Action::Demand(track, frames) => self.demand(track, frames, None, ctx),
            Action::Probe(track) => self.demand(track, 0, None, ctx),
            Action::Seek { track, to, frames, .. } => self.seek(track, to, frames, ctx),
            Action::Seeked(track, at) => {
                self.answer_seek(track, Ok(at));
                self.report(Report::Seeked(track, at));
            }
            Action::SeekRefused(track, why) => self.answer_seek(track, Err(why)),
            Action::Paused(track) => self.report(Report::Paused(track)),
            Action::Resumed(track) => self.report(Report::Resumed(track)),
            Action::Looped(track, left) => self.report(Report::Looped(track, left)),
            Action::Reached(track, at) => self.report(Report::Reached(track, at)),
            // Sent already.
            Action::Voice(_) => {}
            Action::Speaking(flags) => self.report(Report::Speaking(flags)),
            Action::Started(track) => self.report(Report::Started(track)),
            Action::Stalled(track) => self.report(Report::Stalled(track)),
            Action::Ended(track, end) => {
                self.refused += self.sources.remove(&track).map_or(0, |attached| attached.credit.refused());
                self.report(Report::Ended(track, end));
            }
        }
    }

    /// Asks the source to go on from elsewhere. What it was granted before is void.
    fn seek(&mut self, track: TrackId, to: Duration, frames: usize, ctx: &mut Context<Self>) {
        let Some(attached) = self.sources.get_mut(&track) else { return };
        self.refused += attached.credit.refused();
        attached.credit = Arc::default();
        self.demand(track, frames, Some(to), ctx);
    }

    fn answer_seek(&mut self, track: TrackId, answer: Result<Duration, String>) {
        let waiting = self.sources.get_mut(&track).and_then(|attached| attached.seeking.take());
        if let Some(waiting) = waiting {
            // Whoever asked may no longer wait.
            let _ = waiting.send(answer);
        }
    }

    /// Asks the source for frames, and notices when it is gone.
    fn demand(&mut self, track: TrackId, frames: usize, seek: Option<Duration>, ctx: &mut Context<Self>) {
        let Some(AttachedSource { source, credit, listening, .. }) = self.sources.get(&track) else { return };
        if !source.connected() {
            // Its last frames, and how it ended, may still be in the mailbox.
            ctx.address().do_send(SourceGone(track));
        } else if frames > 0 {
            credit.grant(frames);
            let to = ctx.address().recipient();
            let pacer = &self.playout.borrow().pacer;
            let supplier =
                Supplier::new(track, pacer.run(track), to, Arc::clone(credit), listening.subscribe());
            source.do_send(Demand::new(frames, pacer.format(track), seek, supplier));
        }
    }

    fn counts(&self) -> Counts {
        let playout = self.playout.borrow();
        let mut counts = playout.pacer.counts();
        counts.unsent += playout.unsent;
        counts.over_credit += self.refused;
        counts.over_credit += self.sources.values().map(|attached| attached.credit.refused()).sum::<u64>();
        counts
    }

    /// Lets the machine do something, and carries out what follows.
    fn drive(&mut self, ctx: &mut Context<Self>, fact: impl FnOnce(&mut Playout)) {
        let deadline = {
            let mut playout = self.playout.borrow_mut();
            fact(&mut playout);
            playout.play();
            playout.pacer.deadline()
        };
        while let Some(action) = self.next_left() {
            self.carry_out(action, ctx);
        }
        if let Some(tick_handle) = &self.tick_handle {
            tick_handle.set(deadline);
        }
    }

    fn next_left(&self) -> Option<Action> {
        self.playout.borrow_mut().left.pop_front()
    }
}

impl Actor for Speaker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.playout.borrow_mut().speaker = Some(ctx.address().recipient());
        self.tick_handle = Some(TickHandle::of(self.playout.clone(), self.pace));
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        let cause = self.exit.cause("Speaker");
        self.report(Report::Exited { cause, counts: self.counts() });
    }
}

impl Handler<AfterTurn> for Speaker {
    type Result = ();

    fn handle(&mut self, after: AfterTurn, ctx: &mut Context<Self>) {
        match after {
            AfterTurn::CarryOut => self.drive(ctx, |_| ()),
            AfterTurn::Panicked => ctx.stop(),
        }
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
                seeking: None,
            },
        );
        let Attach { track, settings, .. } = attach;
        self.drive(ctx, |playout| playout.pacer.attach(track, settings));
    }
}

impl Handler<Supply> for Speaker {
    type Result = ();

    fn handle(&mut self, Supply { track, run, what }: Supply, ctx: &mut Context<Self>) {
        self.drive(ctx, |Playout { pacer, .. }| match what {
            Supplied::Frame(frame) => pacer.supply(track, run, [frame], now()),
            Supplied::Frames(frames) => pacer.supply(track, run, frames, now()),
            Supplied::End(end, last_frame) => pacer.finish(track, run, end, last_frame),
            Supplied::Sought(at) => pacer.sought(track, run, at),
            Supplied::SeekRefused(why) => pacer.seek_refused(track, run, why),
        });
    }
}

impl Handler<SourceGone> for Speaker {
    type Result = ();

    fn handle(&mut self, SourceGone(track): SourceGone, ctx: &mut Context<Self>) {
        self.drive(ctx, |playout| playout.pacer.source_lost(track));
    }
}

impl Handler<StopTracks> for Speaker {
    type Result = ();

    fn handle(&mut self, StopTracks(which): StopTracks, ctx: &mut Context<Self>) {
        self.drive(ctx, |playout| playout.pacer.stop(which));
    }
}

impl Handler<AskTrack> for Speaker {
    type Result = ();

    fn handle(&mut self, AskTrack { track, ask }: AskTrack, ctx: &mut Context<Self>) {
        let Some(attached) = self.sources.get_mut(&track) else { return };
        let (command, answer) = match ask {
            TrackRequest::Command(command, answer) => (command, Some(answer)),
            TrackRequest::Seek(to, answer) => {
                // Whoever sought before is told nothing more: this is where it goes on.
                attached.seeking = Some(answer);
                (TrackCommand::Seek(to), None)
            }
            TrackRequest::GetState(answer) => {
                if let Some(state) = self.playout.borrow().pacer.state(track) {
                    // Whoever asked may no longer wait.
                    let _ = answer.send(state);
                }
                return;
            }
        };
        self.drive(ctx, |playout| {
            if playout.pacer.command(track, command, now())
                && let Some(answer) = answer
            {
                // Whoever asked may no longer wait.
                let _ = answer.send(());
            }
        });
    }
}

impl Handler<Connect> for Speaker {
    type Result = ();

    fn handle(&mut self, Connect(sender): Connect, ctx: &mut Context<Self>) {
        self.drive(ctx, |playout| {
            match &sender {
                Some(_) => playout.pacer.link_up(now()),
                None => playout.pacer.link_down(),
            }
            playout.sender = sender;
        });
    }
}

impl Handler<SpeakingSent> for Speaker {
    type Result = ();

    fn handle(&mut self, _: SpeakingSent, ctx: &mut Context<Self>) {
        self.drive(ctx, |playout| playout.pacer.speaking_sent(now()));
    }
}

impl Handler<SetFilters> for Speaker {
    type Result = ();

    fn handle(&mut self, SetFilters(filters): SetFilters, _: &mut Context<Self>) {
        self.playout.borrow_mut().pacer.set_filters(&filters);
    }
}

impl Handler<Bitrate> for Speaker {
    type Result = ();

    fn handle(&mut self, Bitrate(bitrate): Bitrate, _: &mut Context<Self>) {
        // What libopus does not take leaves the bitrate as it was.
        let _ = self.playout.borrow_mut().pacer.set_bitrate(bitrate);
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
impl Handler<super::fault::PanicNow> for Speaker {
    type Result = ();

    /// Who is to send something panics in the turn that sends it.
    fn handle(&mut self, _: super::fault::PanicNow, _: &mut Context<Self>) {
        let mut playout = self.playout.borrow_mut();
        assert!(playout.pacer.deadline().is_some(), "a test made the Speaker panic");
        playout.panics = true;
    }
}
