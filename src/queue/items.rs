//! Items: what is in a queue, in order, and the place that plays.

use serde::{Deserialize, Serialize};

/// The name of an item, unique in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub u64);

/// One item of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item<T> {
    /// Its name.
    pub id: ItemId,
    /// What it is opened from.
    pub source: T,
}

/// What is done at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum QueueRepeat {
    /// The next item plays, and after the last nothing.
    #[default]
    Off,
    /// The same item plays again.
    One,
    /// The next item plays, and after the last the first.
    All,
}

#[derive(Debug)]
pub(super) struct Items<T> {
    all: Vec<Item<T>>,
    /// How many of them were played or are playing: those after them are to come.
    begun: usize,
    last_id: u64,
    pub(super) repeat: QueueRepeat,
    /// Whether nothing begins by itself.
    pub(super) is_held: bool,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { all: Vec::new(), begun: 0, last_id: 0, repeat: QueueRepeat::Off, is_held: false }
    }
}

impl<T> Items<T> {
    pub(super) fn all(&self) -> &[Item<T>] {
        &self.all
    }

    pub(super) fn add(&mut self, source: T, place: Option<usize>) -> Option<ItemId> {
        if self.all.len() >= MAX_ITEMS {
            // What was played longest ago makes room, if anything was played.
            if self.begun < 2 {
                return None;
            }
            self.all.remove(0);
            self.begun -= 1;
        }
        self.last_id += 1;
        let id = ItemId(self.last_id);
        let coming = self.all.len() - self.begun;
        let place = self.begun + place.unwrap_or(coming).min(coming);
        self.all.insert(place, Item { id, source });
        Some(id)
    }

    pub(super) fn remove(&mut self, id: ItemId) -> bool {
        let Some(place) = self.place(id) else { return false };
        self.all.remove(place);
        self.begun -= usize::from(place < self.begun);
        true
    }

    pub(super) fn clear_coming(&mut self) {
        self.all.truncate(self.begun);
    }

    pub(super) fn move_to(&mut self, id: ItemId, place: usize) -> bool {
        let Some(from) = self.place(id) else { return false };
        let item = self.all.remove(from);
        self.begun -= usize::from(from < self.begun);
        let place = (self.begun + place).min(self.all.len());
        self.all.insert(place, item);
        true
    }

    /// Fisher and Yates.
    pub(super) fn shuffle(&mut self, mut random: impl FnMut(usize) -> usize) {
        for last in (self.begun + 1..self.all.len()).rev() {
            let other = self.begun + random(last - self.begun + 1).min(last - self.begun);
            self.all.swap(last, other);
        }
    }

    /// This item plays: those before it are behind it.
    pub(super) fn set_current(&mut self, id: ItemId) {
        self.is_held = false;
        if let Some(place) = self.place(id) {
            self.begun = place + 1;
        }
    }

    /// Nothing plays and nothing follows.
    pub(super) fn come_to_end(&mut self) {
        self.begun = self.all.len();
    }

    /// The first that is to come, while nothing plays.
    pub(super) fn first_to_come(&self) -> Option<ItemId> {
        self.all.get(self.begun).filter(|_| !self.is_held).map(|item| item.id)
    }

    /// What was heard last, where nothing begins by itself.
    pub(super) fn held_at(&self) -> Option<ItemId> {
        let last = self.begun.checked_sub(1).filter(|_| self.is_held)?;
        self.all.get(last).map(|item| item.id)
    }

    /// What follows this item by itself.
    pub(super) fn following(&self, id: ItemId) -> Option<ItemId> {
        if self.repeat == QueueRepeat::One && self.place(id).is_some() { Some(id) } else { self.after(id) }
    }

    /// What comes after this item; after one that is no longer there, what comes after those that were begun.
    pub(super) fn after(&self, id: ItemId) -> Option<ItemId> {
        let place = self.place(id).map_or(self.begun, |place| place + 1);
        let first = || self.all.first().filter(|_| self.repeat == QueueRepeat::All);
        self.all.get(place).or_else(first).map(|item| item.id)
    }

    /// What comes after the item that plays, or would.
    pub(super) fn after_current(&self) -> Option<ItemId> {
        let first = || self.all.first().filter(|_| self.repeat == QueueRepeat::All);
        self.all.get(self.begun).or_else(first).map(|item| item.id)
    }

    /// What was begun before the item that plays.
    pub(super) fn before_current(&self) -> Option<ItemId> {
        let last = || self.all.last().filter(|_| self.repeat == QueueRepeat::All);
        self.begun.checked_sub(2).and_then(|place| self.all.get(place)).or_else(last).map(|item| item.id)
    }

    fn place(&self, id: ItemId) -> Option<usize> {
        self.all.iter().position(|item| item.id == id)
    }
}

/// Items of one queue, those that were played included; of these the oldest make room for new ones.
const MAX_ITEMS: usize = 10_000;
