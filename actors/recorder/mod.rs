//! Recorder: listens to the calls of a guild and writes down what is said.

mod message;
mod writer;

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, MessageResult, Recipient,
    ResponseFuture, WrapFuture,
};
use tokio::sync::oneshot;

pub use self::message::{
    Agree, GetSession, Mark, PauseRecording, RecordingBegins, RecordingEnded, Refuse, ResumeRecording,
    StopRecording,
};
use self::{
    message::{EndWaiter, WriteFailed},
    writer::Writer,
};
use super::{
    driven::{Alarm, Driven, now},
    event::{CallEvent, CallEventKind},
    listener::{Listen, StopListening},
    manager::{Subscribe, VoiceManager},
};
use crate::{
    hearing::{Heard, ListenId, Preset},
    recording::{Began, Recording, RecordingEnd, RecordingFile, Session, Settings},
};

/// The actor over [`Recording`]: it records what is said in the calls of one guild into a folder, until it is stopped, the call
/// ends, or the disk is full. It is started like any actor, also before the channel is joined.
///
/// ```no_run
/// # use actix::prelude::*;
/// # use actix_voice::{actors::*, id::*, recording::Settings};
/// # async fn record(manager: Addr<VoiceManager>, guild: GuildId, channel: ChannelId) -> Result<(), Box<dyn std::error::Error>> {
/// let recorder = Recorder::new(manager, Settings::new(guild, channel), "meeting")?.start();
/// recorder.send(Mark("topic 2".into())).await?;
/// let session = recorder.send(StopRecording).await?;
/// for speaker in &session.speakers {
///     println!("{}: {} ms, {} packets lost", speaker.file, speaker.spoken_ms, speaker.lost);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Files are written by a thread of its own; the arbiter it is started on never waits for the disk. Of those whom
/// [`Settings::selection`] does not accept, not a byte is kept.
pub struct Recorder {
    manager: Addr<VoiceManager>,
    settings: Settings,
    folder: PathBuf,
    announcer: Option<Recipient<RecordingBegins>>,
    on_end: Option<Recipient<RecordingEnded>>,
    state: State,
    alarm: Alarm,
    waiters: Vec<EndWaiter>,
}

enum State {
    New,
    Running(Running),
    /// The recording ends; what still waits is taken until then.
    Ending(Running),
}

struct Running {
    recording: Recording,
    writer: Writer,
    listening: Option<ListenId>,
}

/// Why a recording cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// There is a recording in the folder: nothing is ever written over one. Choose another folder.
    #[error("{0} holds a recording already: choose another folder")]
    Taken(PathBuf),
    /// The folder cannot be made.
    #[error("{folder} cannot be made: {why}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        why: io::Error,
    },
}

impl Recorder {
    /// Makes the folder, and a recorder that will record into it.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made, or holds a recording.
    pub fn new(
        manager: Addr<VoiceManager>,
        settings: Settings,
        folder: impl Into<PathBuf>,
    ) -> Result<Self, RecordError> {
        let folder = folder.into();
        if folder.join(RecordingFile::Session.to_string()).exists() {
            return Err(RecordError::Taken(folder));
        }
        if let Err(why) = std::fs::create_dir_all(&folder) {
            return Err(RecordError::Folder { folder, why });
        }
        let (state, alarm) = (State::New, Alarm::default());
        Ok(Self {
            manager,
            settings,
            folder,
            announcer: None,
            on_end: None,
            state,
            alarm,
            waiters: Vec::new(),
        })
    }

    /// Has this actor tell those who will be heard: what is said before is not recorded.
    #[must_use]
    pub fn announced_by(self, announcer: Recipient<RecordingBegins>) -> Self {
        Self { announcer: Some(announcer), ..self }
    }

    /// Tells this actor how the recording ended, whatever ended it.
    #[must_use]
    pub fn on_end(self, to: Recipient<RecordingEnded>) -> Self {
        Self { on_end: Some(to), ..self }
    }

    /// Begins the recording, in which nobody is heard yet.
    fn begin(&mut self, ctx: &mut Context<Self>) -> io::Result<()> {
        let failed = ctx.address();
        let writer = Writer::start(self.folder.clone(), move |end| failed.do_send(WriteFailed(end)))?;
        #[expect(clippy::disallowed_methods, reason = "a recording says when it was made")]
        let wall = SystemTime::now();
        let recording = Recording::new(self.settings.clone(), Began::new(now(), wall), now());
        self.state = State::Running(Running { recording, writer, listening: None });
        Ok(())
    }

    /// Listens, once those who will be heard have been told.
    fn listen(&mut self, ctx: &mut Context<Self>) {
        let listen = Listen::frames(self.settings.guild, Preset::Record, ctx.address().recipient())
            .selection(self.settings.selection.clone());
        let asked = self.manager.send(listen).into_actor(self);
        ctx.spawn(asked.map(|answer, recorder, _| match (&mut recorder.state, answer) {
            (State::Running(running), Ok(id)) => running.listening = Some(id),
            (_, Ok(id)) => recorder.manager.do_send(StopListening(id)),
            (_, Err(error)) => tracing::warn!(%error, "a recorder has no manager"),
        }));
    }

    /// Ends the recording soon: what was said until now may still be on its way here.
    fn end(&mut self, end: RecordingEnd, ctx: &mut Context<Self>) {
        let mut running = match std::mem::replace(&mut self.state, State::New) {
            State::Running(running) => running,
            // It ends already, or never began.
            state => return self.state = state,
        };
        let at = now();
        running.recording.take_until(at);
        self.state = State::Ending(running);
        let drain = if end == RecordingEnd::Stopped { HOLD } else { DRAIN };
        let drained = async move { actix::clock::sleep(drain).await };
        ctx.spawn(drained.into_actor(self).map(move |(), recorder, ctx| recorder.finish(end, at, ctx)));
    }

    fn finish(&mut self, end: RecordingEnd, at: Instant, ctx: &mut Context<Self>) {
        let State::Ending(running) = &mut self.state else { return };
        if let Some(id) = running.listening.take() {
            self.manager.do_send(StopListening(id));
        }
        running.recording.finish(end.clone(), at);
        let session = running.recording.session(at);
        // It ends already.
        let _ = running.carry_out(at);
        let written = actix::clock::timeout(WRITE_TIMEOUT, running.writer.finish());
        ctx.spawn(written.into_actor(self).map(move |written, recorder, ctx| {
            if written.is_err() {
                tracing::error!("a recording is not on the disk yet, which hangs");
            }
            for waiter in recorder.waiters.drain(..) {
                // Who asked may be gone.
                let _ = waiter.send(session.clone());
            }
            if let Some(on_end) = &recorder.on_end {
                on_end.do_send(RecordingEnded { end, session });
            }
            ctx.stop();
        }));
    }

    /// Ends the recording where a file cannot be written: nothing more is.
    fn fail(&mut self, end: RecordingEnd, ctx: &mut Context<Self>) {
        tracing::error!(%end, "recording");
        self.end(end, ctx);
    }

    fn recording(&mut self) -> Option<&mut Recording> {
        match &mut self.state {
            State::Running(running) | State::Ending(running) => Some(&mut running.recording),
            State::New => None,
        }
    }

    /// Lets the recording know a fact, and does what it wants done.
    fn tell(&mut self, ctx: &mut Context<Self>, fact: impl FnOnce(&mut Recording)) {
        if let Some(recording) = self.recording() {
            fact(recording);
            self.drive(ctx);
        }
    }
}

impl Running {
    fn carry_out(&mut self, now: Instant) -> Result<(), RecordingEnd> {
        while let Some(action) = self.recording.poll(now) {
            self.writer.write(action)?;
        }
        Ok(())
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        self.manager.do_send(Subscribe::new(ctx.address().recipient()).guild(self.settings.guild));
        if let Err(error) = self.begin(ctx) {
            tracing::error!(%error, "no thread for a recording");
            return ctx.stop();
        }
        self.drive(ctx);
        let Some(announcer) = &self.announcer else { return self.listen(ctx) };
        let begins = RecordingBegins { guild: self.settings.guild, channel: self.settings.channel };
        let told = announcer.send(begins);
        let told = async { drop(actix::clock::timeout(ANNOUNCEMENT_TIMEOUT, told).await) };
        ctx.spawn(told.into_actor(self).map(|(), recorder, ctx| recorder.listen(ctx)));
    }
}

impl Driven for Recorder {
    fn drive(&mut self, ctx: &mut Context<Self>) {
        let State::Running(running) = &mut self.state else { return };
        if let Err(end) = running.carry_out(now()) {
            return self.fail(end, ctx);
        }
        let deadline = running.recording.deadline();
        self.alarm.set(deadline, ctx);
    }
}

impl Handler<Heard> for Recorder {
    type Result = ();

    fn handle(&mut self, heard: Heard, ctx: &mut Context<Self>) {
        self.tell(ctx, |recording| recording.heard(&heard));
    }
}

impl Handler<CallEvent> for Recorder {
    type Result = ();

    fn handle(&mut self, CallEvent { kind, .. }: CallEvent, ctx: &mut Context<Self>) {
        match kind {
            CallEventKind::ClientsConnected(users) => self.tell(ctx, |it| it.joined(&users, now())),
            CallEventKind::ClientDisconnected(user) => self.tell(ctx, |it| it.left(user, now())),
            CallEventKind::E2ee(state) => {
                self.tell(ctx, |it| it.encrypted(state.privacy_code.as_deref(), now()));
            }
            CallEventKind::Ended(reason) => {
                self.end(RecordingEnd::CallEnded { why: reason.to_string() }, ctx);
            }
            _ => {}
        }
    }
}

impl Handler<Mark> for Recorder {
    type Result = ();

    fn handle(&mut self, Mark(text): Mark, ctx: &mut Context<Self>) {
        self.tell(ctx, |recording| recording.mark(&text, now()));
    }
}

impl Handler<PauseRecording> for Recorder {
    type Result = ();

    fn handle(&mut self, _: PauseRecording, ctx: &mut Context<Self>) {
        self.tell(ctx, |recording| recording.pause(now()));
    }
}

impl Handler<ResumeRecording> for Recorder {
    type Result = ();

    fn handle(&mut self, _: ResumeRecording, ctx: &mut Context<Self>) {
        self.tell(ctx, |recording| recording.resume(now()));
    }
}

impl Handler<Refuse> for Recorder {
    type Result = ();

    fn handle(&mut self, Refuse(user): Refuse, ctx: &mut Context<Self>) {
        self.tell(ctx, |recording| recording.refuse(user, now()));
    }
}

impl Handler<Agree> for Recorder {
    type Result = ();

    fn handle(&mut self, Agree(user): Agree, ctx: &mut Context<Self>) {
        self.tell(ctx, |recording| recording.agree(user, now()));
    }
}

impl Handler<GetSession> for Recorder {
    type Result = MessageResult<GetSession>;

    fn handle(&mut self, _: GetSession, _: &mut Context<Self>) -> Self::Result {
        let session = match &self.state {
            State::Running(running) | State::Ending(running) => running.recording.session(now()),
            State::New => Session::new(&self.settings),
        };
        MessageResult(session)
    }
}

impl Handler<StopRecording> for Recorder {
    type Result = ResponseFuture<Session>;

    fn handle(&mut self, _: StopRecording, ctx: &mut Context<Self>) -> Self::Result {
        let (waiter, ended) = oneshot::channel();
        self.waiters.push(waiter);
        self.end(RecordingEnd::Stopped, ctx);
        let nothing = Session::new(&self.settings);
        Box::pin(async move { ended.await.unwrap_or(nothing) })
    }
}

impl Handler<WriteFailed> for Recorder {
    type Result = ();

    fn handle(&mut self, WriteFailed(end): WriteFailed, ctx: &mut Context<Self>) {
        self.fail(end, ctx);
    }
}

/// Frames come 32 at a time, and are taken at once.
const MAILBOX: usize = 256;
/// As long as a listener waits for what is missing, and a moment for what is under way.
const HOLD: Duration = Duration::from_millis(1_100);
/// A call that has ended has told all; this is for what is under way.
const DRAIN: Duration = Duration::from_millis(100);
/// A disk that takes longer hangs; what waits for it is written if it ever goes on.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const ANNOUNCEMENT_TIMEOUT: Duration = Duration::from_secs(30);
