//! Queue: plays one entry after another in a call, without a gap.

mod entry;
mod message;

use std::{collections::HashMap, time::Duration};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, ResponseActFuture,
    WrapFuture,
};

use tokio::sync::mpsc;

pub use self::{
    entry::{Entry, Location, Maker, QueueSnapshot},
    message::{Enqueue, GetQueue, QueueEvent, QueueEventKind, QueueState, Rearrange, TakeSnapshot},
};
use super::{
    call::SpeakError,
    manager::{CallHandle, Speak, TrackError, TrackHandle},
};
use crate::{
    id::GuildId,
    queue::{self, Action, ItemId, PlayId},
    speaker::TrackEnd,
};

/// Plays one entry after another in a call. It is a user of the call like any other: tracks of its own can be spoken beside it.
pub struct Queue {
    queue: queue::Queue<Entry>,
    call: CallHandle,
    tracks: HashMap<PlayId, Opening>,
    crossfade: Duration,
    listener: Option<Recipient<QueueEvent>>,
    channel: Option<mpsc::Sender<QueueEvent>>,
    /// How the first item begins that is opened.
    beginning: Option<Beginning>,
}

/// A track that is open, or will be.
enum Opening {
    Waited,
    /// It is not wanted any more.
    Cancelled,
    Open(TrackHandle),
}

#[derive(Clone, Copy, Debug)]
struct Beginning {
    at: Duration,
    paused: bool,
}

impl Queue {
    /// A queue without entries.
    #[must_use]
    pub fn new(call: CallHandle) -> Self {
        Self {
            queue: queue::Queue::default(),
            call,
            tracks: HashMap::new(),
            crossfade: Duration::ZERO,
            listener: None,
            channel: None,
            beginning: None,
        }
    }

    /// Goes on in this call where a queue was, perhaps in another process.
    #[must_use]
    pub fn restore(call: CallHandle, snapshot: QueueSnapshot) -> Self {
        let QueueSnapshot { entries, current, position, paused, repeat, crossfade, .. } = snapshot;
        Self {
            queue: queue::Queue::restored(entries, current, repeat),
            beginning: Some(Beginning { at: position, paused }),
            ..Self::new(call).crossfade(crossfade)
        }
    }

    /// Goes on in another call, once this one is over.
    #[must_use]
    pub fn resume_in(call: CallHandle, state: QueueState) -> Self {
        let current = state.current.map(|(item, _)| item);
        Self::restore(
            call,
            QueueSnapshot {
                current: state.items.iter().position(|item| Some(item.id) == current),
                entries: state.items.into_iter().map(|item| item.source).collect(),
                position: Duration::ZERO,
                paused: false,
                repeat: state.repeat,
                crossfade: state.crossfade,
                left_out: 0,
            },
        )
    }

    /// How long one entry is heard together with the next, up to 12 s.
    #[must_use]
    pub fn crossfade(self, crossfade: Duration) -> Self {
        Self { crossfade: crossfade.min(LONGEST_CROSSFADE), ..self }
    }

    /// Tells this actor what happens.
    #[must_use]
    pub fn events(self, listener: Recipient<QueueEvent>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// Tells this channel what happens; what does not fit is dropped, so that a reader who is late holds up nothing.
    #[must_use]
    pub fn event_channel(self, channel: mpsc::Sender<QueueEvent>) -> Self {
        Self { channel: Some(channel), ..self }
    }

    /// The first entry begins at this place.
    #[must_use]
    pub fn begin_at(self, at: Duration) -> Self {
        Self { beginning: Some(Beginning { at, paused: false }), ..self }
    }

    fn guild(&self) -> GuildId {
        self.call.guild()
    }

    fn drive(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.queue.poll() {
            match action {
                Action::Open { play, item, after } => self.open(play, item, after, ctx),
                Action::Stop(play) => self.stop(play),
                Action::Playing(item, play) => {
                    if let Some(Opening::Open(track)) = self.tracks.get(&play) {
                        self.tell(QueueEventKind::Playing(item, track.clone()));
                    }
                }
                Action::Failed(item, why) => self.tell(QueueEventKind::Failed(item, why)),
                Action::Finished => self.tell(QueueEventKind::Finished),
            }
        }
    }

    fn open(&mut self, play: PlayId, item: ItemId, after: Option<PlayId>, ctx: &mut Context<Self>) {
        let Some(item) = self.queue.item(item) else { return };
        let speak = self.shaped(item.source.open(self.guild()), after);
        self.tracks.insert(play, Opening::Waited);
        let call = self.call.clone();
        let opening = async move { call.speak(speak).await }.into_actor(self);
        ctx.spawn(opening.map(move |opened, queue, ctx| queue.opened(play, opened, ctx)));
    }

    /// When and how it begins.
    fn shaped(&mut self, speak: Speak, after: Option<PlayId>) -> Speak {
        let before = after.and_then(|play| match self.tracks.get(&play) {
            Some(Opening::Open(track)) => Some(track.id()),
            _ => None,
        });
        match (before, self.beginning.take()) {
            (Some(track), _) => speak.after(track, self.crossfade),
            (None, Some(Beginning { at, paused: true })) => speak.start_at(at).paused(),
            (None, Some(Beginning { at, .. })) => speak.start_at(at),
            (None, None) => speak,
        }
    }

    fn opened(&mut self, play: PlayId, opened: Result<TrackHandle, SpeakError>, ctx: &mut Context<Self>) {
        let wanted = matches!(self.tracks.remove(&play), Some(Opening::Waited));
        match opened {
            Ok(track) if wanted => {
                self.tracks.insert(play, Opening::Open(track.clone()));
                let call = self.call.clone();
                let ending = async move {
                    let end = track.ended().await;
                    // One that was not played to its end may have ended with its call.
                    let goes_on = matches!(end, Some(TrackEnd::Finished)) || !call.is_over().await;
                    end.filter(|_| goes_on)
                };
                let ending = ending.into_actor(self);
                ctx.spawn(ending.map(move |end, queue, ctx| queue.ended(play, end, ctx)));
                self.queue.opened(play);
            }
            Ok(track) => track.stop(),
            Err(SpeakError::NotJoined(_)) => self.call_over(),
            Err(error) => self.queue.failed(play, error.to_string()),
        }
        self.drive(ctx);
    }

    fn ended(&mut self, play: PlayId, end: Option<TrackEnd>, ctx: &mut Context<Self>) {
        self.tracks.remove(&play);
        match end {
            Some(end) => self.queue.ended(play, &end),
            None => self.call_over(),
        }
        self.drive(ctx);
    }

    fn call_over(&mut self) {
        if self.queue.call_over() {
            self.tell(QueueEventKind::CallOver);
        }
    }

    fn stop(&mut self, play: PlayId) {
        match self.tracks.get_mut(&play) {
            Some(Opening::Open(track)) => track.stop(),
            Some(opening) => *opening = Opening::Cancelled,
            None => {}
        }
    }

    fn tell(&self, kind: QueueEventKind) {
        let event = QueueEvent { guild: self.guild(), kind };
        if let Some(channel) = &self.channel
            && channel.try_send(event.clone()).is_err()
        {
            tracing::debug!(?event, "nobody reads what a queue tells");
        }
        if let Some(listener) = &self.listener {
            listener.do_send(event);
        }
    }

    fn current_track(&self) -> Option<(ItemId, Option<TrackHandle>)> {
        let (item, play) = self.queue.current()?;
        let track = play.and_then(|play| self.tracks.get(&play)).and_then(|opening| match opening {
            Opening::Open(track) => Some(track.clone()),
            _ => None,
        });
        Some((item, track))
    }
}

impl Actor for Queue {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        for opening in self.tracks.values() {
            if let Opening::Open(track) = opening {
                track.stop();
            }
        }
    }
}

impl Handler<Enqueue> for Queue {
    type Result = Option<ItemId>;

    fn handle(&mut self, Enqueue { entry, place }: Enqueue, ctx: &mut Context<Self>) -> Self::Result {
        let added = self.queue.add(entry, place);
        self.drive(ctx);
        added
    }
}

impl Handler<Rearrange> for Queue {
    type Result = bool;

    fn handle(&mut self, rearrange: Rearrange, ctx: &mut Context<Self>) -> bool {
        let done = match rearrange {
            Rearrange::Skip => self.queue.skip(),
            Rearrange::Previous => self.queue.previous(),
            Rearrange::Jump(item) => self.queue.jump(item),
            Rearrange::Remove(item) => self.queue.remove(item),
            Rearrange::Move(item, place) => self.queue.move_to(item, place),
            Rearrange::Shuffle => {
                self.queue.shuffle(|below| fastrand::usize(..below));
                true
            }
            Rearrange::Clear => {
                self.queue.clear();
                true
            }
            Rearrange::Repeat(repeat) => {
                self.queue.set_repeat(repeat);
                true
            }
            Rearrange::Crossfade(crossfade) => {
                self.crossfade = crossfade.min(LONGEST_CROSSFADE);
                true
            }
        };
        self.drive(ctx);
        done
    }
}

impl Handler<GetQueue> for Queue {
    type Result = MessageResult<GetQueue>;

    fn handle(&mut self, _: GetQueue, _: &mut Context<Self>) -> Self::Result {
        MessageResult(QueueState {
            items: self.queue.items().to_vec(),
            current: self.current_track(),
            repeat: self.queue.repeat(),
            crossfade: self.crossfade,
        })
    }
}

impl Handler<TakeSnapshot> for Queue {
    type Result = ResponseActFuture<Self, QueueSnapshot>;

    fn handle(&mut self, _: TakeSnapshot, _: &mut Context<Self>) -> Self::Result {
        let current = self.current_track();
        let track = current.as_ref().and_then(|(_, track)| track.clone());
        let asking = async move {
            match track {
                Some(track) => track.state().await,
                None => Err(TrackError::Over),
            }
        };
        Box::pin(asking.into_actor(self).map(move |state, queue, _| {
            let all = queue.queue.items();
            let kept: Vec<_> = all.iter().filter(|item| item.source.can_be_kept()).collect();
            let current = current.and_then(|(current, _)| kept.iter().position(|item| item.id == current));
            QueueSnapshot {
                left_out: all.len() - kept.len(),
                current,
                position: state.as_ref().map_or(Duration::ZERO, |state| state.position),
                paused: state.is_ok_and(|state| state.paused),
                entries: kept.into_iter().map(|item| item.source.clone()).collect(),
                repeat: queue.queue.repeat(),
                crossfade: queue.crossfade,
            }
        }))
    }
}

/// Longer ones would need more of a track than anybody hears of it.
const LONGEST_CROSSFADE: Duration = Duration::from_secs(12);
