//! Queue: which track plays now, which is opened ahead to follow it without a gap, and in which order.
//!
//! ```text
//!   Idle ── an item is there ──▶ Opening ── opened ──▶ Playing ── the next is opened to begin at its end
//!    ▲                              │ it cannot be opened: the next                 │
//!    └──────── nothing follows ─────┴───────────────── ended, stopped ◀─────────────┘
//! ```
//!
//! Whoever carries out the actions opens an item by making a track of it that begins after another; then the speaker goes
//! from one to the next by itself, to the sample.

mod items;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::items::Items;
pub use self::items::{Item, ItemId, QueueRepeat};
use crate::speaker::TrackEnd;

/// One playing of an item; the same item may be played again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayId(pub u64);

/// The queue of one call; `T` is what an item is opened from.
#[derive(Debug)]
pub struct Queue<T> {
    items: Items<T>,
    current: Option<Play>,
    /// What follows the current one; only while that is open.
    next: Option<Play>,
    /// Whether the current one is stopped as soon as the next is open.
    leaving: bool,
    last_play: u64,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug)]
struct Play {
    id: PlayId,
    item: ItemId,
    is_open: bool,
}

/// What the queue wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Open this item, to begin at the end of a track that is open, or now; answered by [`Queue::opened`] or
    /// [`Queue::failed`].
    Open {
        /// The name of the new track.
        play: PlayId,
        /// What is to be opened.
        item: ItemId,
        /// What it follows.
        after: Option<PlayId>,
    },
    /// Stop this track, open or not; answered by [`Queue::ended`] unless it is forgotten already.
    Stop(PlayId),
    /// This item is heard now.
    Playing(ItemId, PlayId),
    /// This item could not be played, or not to its end, and is no longer in the queue.
    Failed(ItemId, String),
    /// Nothing follows.
    Finished,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            items: Items::default(),
            current: None,
            next: None,
            leaving: false,
            last_play: 0,
            actions: VecDeque::new(),
        }
    }
}

impl<T> Queue<T> {
    /// The next order.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The items, those played before included.
    pub fn items(&self) -> &[Item<T>] {
        self.items.all()
    }

    /// An item by its name.
    pub fn item(&self, id: ItemId) -> Option<&Item<T>> {
        self.items.all().iter().find(|item| item.id == id)
    }

    /// What is heard, or being opened to be, and its track; of a queue whose call is over what was heard last.
    pub fn current(&self) -> Option<(ItemId, Option<PlayId>)> {
        match self.current {
            Some(play) => Some((play.item, Some(play.id))),
            None => self.items.held_at().map(|item| (item, None)),
        }
    }

    /// What is done at the end.
    pub fn repeat(&self) -> QueueRepeat {
        self.items.repeat
    }

    /// Adds an item at this place of those that are to come, or at their end; none when the queue is full.
    pub fn add(&mut self, source: T, place: Option<usize>) -> Option<ItemId> {
        let added = self.items.add(source, place);
        self.settle();
        added
    }

    /// Takes an item out; the current one is skipped.
    pub fn remove(&mut self, id: ItemId) -> bool {
        if self.current.is_some_and(|play| play.item == id) {
            self.skip();
        }
        let removed = self.items.remove(id);
        self.settle();
        removed
    }

    /// Takes all items out that are to come.
    pub fn clear(&mut self) {
        self.items.clear_coming();
        self.settle();
    }

    /// Moves an item to this place of those that are to come.
    pub fn move_to(&mut self, id: ItemId, place: usize) -> bool {
        let moved = self.current.is_none_or(|play| play.item != id) && self.items.move_to(id, place);
        self.settle();
        moved
    }

    /// Puts those that are to come in another order; `random` says a number below the one that it is given.
    pub fn shuffle(&mut self, random: impl FnMut(usize) -> usize) {
        self.items.shuffle(random);
        self.settle();
    }

    /// What is to be done at the end of an item, or of the last.
    pub fn set_repeat(&mut self, repeat: QueueRepeat) {
        self.items.repeat = repeat;
        self.settle();
    }

    /// Goes on with the next item, also where the current one is repeated; says whether there is one.
    pub fn skip(&mut self) -> bool {
        let next = self.items.after_current();
        self.go_to(next);
        next.is_some()
    }

    /// Goes back to the item before; says whether there is one.
    pub fn previous(&mut self) -> bool {
        let before = self.items.before_current();
        if before.is_some() {
            self.go_to(before);
        }
        before.is_some()
    }

    /// Goes on with this item; says whether there is such an item.
    pub fn jump(&mut self, id: ItemId) -> bool {
        let known = self.item(id).is_some();
        if known {
            self.go_to(Some(id));
        }
        known
    }

    fn go_to(&mut self, item: Option<ItemId>) {
        match (self.current, item) {
            (Some(current), Some(item)) if current.is_open => {
                self.leaving = true;
                self.prepare(Some(item));
                self.leave_if_ready();
            }
            (Some(current), item) => {
                self.drop_next();
                self.current = None;
                self.actions.push_back(Action::Stop(current.id));
                self.begin(item);
            }
            (None, item) => self.begin(item),
        }
    }

    /// The track is open, and begins when its turn comes.
    pub fn opened(&mut self, play: PlayId) {
        for known in
            [&mut self.current, &mut self.next].into_iter().flatten().filter(|known| known.id == play)
        {
            known.is_open = true;
        }
        if let Some(current) = self.current.filter(|current| current.id == play) {
            self.actions.push_back(Action::Playing(current.item, play));
        }
        self.leave_if_ready();
        self.settle();
    }

    /// The item could not be opened.
    pub fn failed(&mut self, play: PlayId, why: String) {
        let Some(item) = self.forget(play) else { return };
        let following = if self.current.is_none() { self.items.after(item) } else { None };
        self.actions.push_back(Action::Failed(item, why));
        self.items.remove(item);
        if self.current.is_none() {
            return self.begin(following);
        }
        if std::mem::take(&mut self.leaving) {
            self.skip();
        }
        self.settle();
    }

    /// The track is over.
    pub fn ended(&mut self, play: PlayId, end: &TrackEnd) {
        let is_current = self.current.is_some_and(|current| current.id == play);
        let failure = matches!(end, TrackEnd::Failed(_) | TrackEnd::Panicked(_) | TrackEnd::SourceLost);
        if failure && !is_current {
            return self.failed(play, end.to_string());
        }
        let Some(item) = self.forget(play) else { return };
        if !is_current {
            return self.settle();
        }
        let following = self.items.following(item).filter(|following| !failure || *following != item);
        if failure {
            self.actions.push_back(Action::Failed(item, end.to_string()));
            self.items.remove(item);
        }
        self.leaving = false;
        match self.next.take() {
            Some(next) => {
                self.current = Some(next);
                self.items.set_current(next.item);
                if next.is_open {
                    self.actions.push_back(Action::Playing(next.item, next.id));
                }
                self.settle();
            }
            None => self.begin(following),
        }
    }

    /// A queue that was at this place, of items that come from elsewhere; without a place all of them were played.
    pub fn restored(items: impl IntoIterator<Item = T>, place: Option<usize>, repeat: QueueRepeat) -> Self {
        let mut queue = Self::default();
        queue.items.repeat = repeat;
        let ids: Vec<_> = items.into_iter().filter_map(|item| queue.items.add(item, None)).collect();
        match place.and_then(|place| ids.get(place)) {
            Some(item) => queue.begin(Some(*item)),
            None => queue.items.come_to_end(),
        }
        queue
    }

    /// The call is over, and its tracks with it; the items stay, and nothing begins until it is asked for. Says whether it was
    /// not known already.
    pub fn call_over(&mut self) -> bool {
        (self.current, self.next, self.leaving) = (None, None, false);
        !std::mem::replace(&mut self.items.is_held, true)
    }

    /// Begins with this item, as nothing is heard.
    fn begin(&mut self, item: Option<ItemId>) {
        self.leaving = false;
        let Some(item) = item else {
            self.items.come_to_end();
            return self.actions.push_back(Action::Finished);
        };
        self.items.set_current(item);
        self.current = Some(self.open(item, None));
    }

    /// Sees to it that what follows is opened, and nothing else is.
    fn settle(&mut self) {
        match self.current {
            None => {
                if let Some(item) = self.items.first_to_come() {
                    self.begin(Some(item));
                }
            }
            Some(current) if current.is_open && !self.leaving => {
                let following = self.items.following(current.item);
                self.prepare(following);
            }
            Some(_) => {}
        }
    }

    fn prepare(&mut self, item: Option<ItemId>) {
        if self.next.is_some_and(|next| Some(next.item) == item) {
            return;
        }
        self.drop_next();
        let after = self.current.map(|current| current.id);
        self.next = item.map(|item| self.open(item, after));
    }

    fn drop_next(&mut self) {
        let dropped = self.next.take().map(|next| Action::Stop(next.id));
        self.actions.extend(dropped);
    }

    fn leave_if_ready(&mut self) {
        if let (true, Some(current), Some(next)) = (self.leaving, self.current, self.next)
            && next.is_open
        {
            self.actions.push_back(Action::Stop(current.id));
        }
    }

    fn open(&mut self, item: ItemId, after: Option<PlayId>) -> Play {
        self.last_play += 1;
        let id = PlayId(self.last_play);
        self.actions.push_back(Action::Open { play: id, item, after });
        Play { id, item, is_open: false }
    }

    fn forget(&mut self, play: PlayId) -> Option<ItemId> {
        let slots = [&mut self.current, &mut self.next];
        slots.into_iter().find_map(|slot| slot.take_if(|known| known.id == play)).map(|play| play.item)
    }
}
