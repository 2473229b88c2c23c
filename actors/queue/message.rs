//! What a bot says to a queue, and what it is told.

use std::time::Duration;

use actix::Message;

use super::entry::{Entry, QueueSnapshot};
use crate::{
    actors::manager::TrackHandle,
    id::GuildId,
    queue::{Item, ItemId, QueueRepeat},
};

/// **Your bot → Queue.** Play this too: at this place of those that are to come, 0 being the next, or after them. Answered with
/// the name of the item; with none if the queue is full.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Option<ItemId>")]
#[non_exhaustive]
pub struct Enqueue {
    /// What is to be played.
    pub entry: Entry,
    /// Its place among those that are to come; none means behind them.
    pub place: Option<usize>,
}

impl Enqueue {
    /// Plays this after all others.
    #[must_use]
    pub fn last(entry: Entry) -> Self {
        Self { entry, place: None }
    }

    /// Plays this at this place of those that are to come.
    #[must_use]
    pub fn at(place: usize, entry: Entry) -> Self {
        Self { entry, place: Some(place) }
    }
}

/// **Your bot → Queue.** Change the order, or what plays. Answered with whether there was something to do it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "bool")]
#[non_exhaustive]
pub enum Rearrange {
    /// Go on with the next item, which begins without a gap.
    Skip,
    /// Go back to the item before.
    Previous,
    /// Go on with this item.
    Jump(ItemId),
    /// Take this item out; the one that is heard is skipped.
    Remove(ItemId),
    /// Move an item to this place of those that are to come.
    Move(ItemId, usize),
    /// Put those that are to come in another order, at random.
    Shuffle,
    /// Take all out that are to come.
    Clear,
    /// What is done at the end of an item, or of the last.
    Repeat(QueueRepeat),
    /// How long one is heard together with the next: none, or up to 12 s; from the item after the next on, if the next is open
    /// already.
    Crossfade(Duration),
}

/// **Your bot → Queue.** Say what is in the queue.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "QueueState")]
pub struct GetQueue;

/// **Your bot → Queue.** Say all that another process needs to go on from here.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "QueueSnapshot")]
pub struct TakeSnapshot;

/// What is in a queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QueueState {
    /// The items in order, those that were played included.
    pub items: Vec<Item<Entry>>,
    /// The item that is heard, and its track; none of these while it is being opened.
    pub current: Option<(ItemId, Option<TrackHandle>)>,
    /// What is done at the end.
    pub repeat: QueueRepeat,
    /// How long one is heard together with the next.
    pub crossfade: Duration,
}

/// **Queue → your actor.** Something happened in the queue of this guild.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct QueueEvent {
    /// The guild.
    pub guild: GuildId,
    /// What happened.
    pub kind: QueueEventKind,
}

/// What can happen in a queue.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueueEventKind {
    /// This item is heard now, as this track.
    Playing(ItemId, TrackHandle),
    /// This item could not be played, or not to its end, for this reason; it is no longer in the queue.
    Failed(ItemId, String),
    /// Nothing follows. What is added begins at once.
    Finished,
    /// The call is over. The items are kept; [`Queue::resume_in`](super::Queue::resume_in) goes on in another.
    CallOver,
}
