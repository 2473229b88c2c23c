//! Stories of a queue whose tracks open and end as they are told to.

use super::*;

/// A queue of numbered items, and a player that opens what it is told to at once unless it is slow.
#[derive(Default)]
struct Story {
    queue: Queue<&'static str>,
    slow: bool,
    broken: Vec<&'static str>,
    opening: Vec<PlayId>,
    /// What is open, in the order in which it plays.
    open: Vec<(PlayId, &'static str)>,
    told: Vec<String>,
}

impl Story {
    fn of(items: &[&'static str]) -> Self {
        let mut story = Self::default();
        for item in items {
            story.queue.add(item, None);
            story.drive();
        }
        story
    }

    fn name(&self, item: ItemId) -> &'static str {
        self.queue.item(item).map_or("?", |item| item.source)
    }

    fn id(&self, name: &str) -> ItemId {
        self.queue.items().iter().find(|item| item.source == name).unwrap().id
    }

    fn drive(&mut self) {
        while let Some(action) = self.queue.poll() {
            match action {
                Action::Open { play, item, after } => {
                    assert_eq!(after, self.open.last().map(|(play, _)| *play), "it follows what plays last");
                    let name = self.name(item);
                    if self.broken.contains(&name) {
                        self.queue.failed(play, "broken".into());
                    } else if self.slow {
                        self.opening.push(play);
                        self.open.push((play, name));
                    } else {
                        self.open.push((play, name));
                        self.queue.opened(play);
                    }
                }
                Action::Stop(play) => {
                    self.open.retain(|(open, _)| *open != play);
                    self.opening.retain(|opening| *opening != play);
                    self.queue.ended(play, &TrackEnd::Stopped);
                }
                Action::Playing(item, _) => self.told.push(self.name(item).to_owned()),
                Action::Failed(_, why) => self.told.push(why),
                Action::Finished => self.told.push("finished".into()),
            }
        }
    }

    fn open_all(&mut self) {
        for play in std::mem::take(&mut self.opening) {
            self.queue.opened(play);
            self.drive();
        }
    }

    /// What is heard comes to its end.
    fn end(&mut self) {
        let (play, _) = self.open.remove(0);
        self.queue.ended(play, &TrackEnd::Finished);
        self.drive();
    }

    fn heard(&self) -> Vec<&'static str> {
        self.open.iter().map(|(_, name)| *name).collect()
    }
}

#[test]
fn what_follows_is_open_before_what_is_heard_ends() {
    let mut story = Story::of(&["a", "b", "c"]);
    assert_eq!(story.heard(), ["a", "b"]);
    story.end();
    assert_eq!(story.heard(), ["b", "c"]);
    story.end();
    story.end();
    assert_eq!(story.heard(), [""; 0]);
    assert_eq!(story.told, ["a", "b", "c", "finished"]);
    story.queue.add("d", None);
    story.drive();
    assert_eq!(story.told.last().unwrap(), "d", "what comes later begins at once");
}

#[test]
fn what_is_inserted_moved_or_removed_changes_what_follows() {
    let mut story = Story::of(&["a", "b", "c"]);
    story.queue.add("x", Some(0));
    story.drive();
    assert_eq!(story.heard(), ["a", "x"]);
    let c = story.id("c");
    assert!(story.queue.move_to(c, 0));
    story.drive();
    assert_eq!(story.heard(), ["a", "c"]);
    assert!(story.queue.remove(c) && !story.queue.remove(c));
    story.drive();
    assert_eq!(story.heard(), ["a", "x"]);
    let a = story.id("a");
    assert!(!story.queue.move_to(a, 1), "what is heard stays where it is");
    assert!(story.queue.remove(a));
    story.drive();
    assert_eq!(story.heard(), ["x", "b"]);
    story.queue.clear();
    story.drive();
    assert_eq!(story.heard(), ["x"]);
    story.end();
    assert_eq!(story.told, ["a", "x", "finished"]);
}

#[test]
fn skipping_leaves_what_is_heard_only_once_the_next_is_open() {
    let mut story = Story { slow: true, ..Story::default() };
    for name in ["a", "b", "c"] {
        story.queue.add(name, None);
        story.drive();
    }
    story.open_all();
    assert_eq!(story.heard(), ["a", "b"]);
    assert!(story.queue.skip());
    story.drive();
    assert_eq!(story.heard(), ["a", "b"], "not yet");
    story.open_all();
    assert_eq!(story.heard(), ["b", "c"]);
    assert!(story.queue.previous());
    story.drive();
    story.open_all();
    assert_eq!(story.heard()[..1], ["a"]);
    assert_eq!(story.told, ["a", "b", "a"]);

    let mut story = Story { slow: true, ..Story::default() };
    story.queue.add("a", None);
    story.queue.add("b", None);
    story.drive();
    story.queue.skip();
    story.drive();
    story.open_all();
    assert_eq!(
        (story.heard(), story.told),
        (vec!["b"], vec!["b".to_owned()]),
        "what is not open yet is not waited for"
    );
}

#[test]
fn the_last_that_is_skipped_ends_the_queue_and_the_first_has_none_before_it() {
    let mut story = Story::of(&["a"]);
    assert!(!story.queue.previous());
    assert!(!story.queue.skip());
    story.drive();
    assert_eq!(story.told, ["a", "finished"]);
    assert!(story.heard().is_empty());
    assert!(!story.queue.skip());
    let a = story.id("a");
    assert!(story.queue.jump(a) && !story.queue.jump(ItemId(99)));
    story.drive();
    assert_eq!(story.heard(), ["a"]);
}

#[test]
fn one_is_repeated_until_it_is_skipped_and_all_from_the_last_to_the_first() {
    let mut story = Story::of(&["a", "b"]);
    story.queue.set_repeat(QueueRepeat::One);
    story.drive();
    assert_eq!(story.heard(), ["a", "a"]);
    story.end();
    story.queue.skip();
    story.drive();
    assert_eq!(story.heard(), ["b", "b"]);
    story.queue.set_repeat(QueueRepeat::All);
    story.drive();
    assert_eq!(story.heard(), ["b", "a"]);
    story.end();
    story.end();
    assert_eq!(story.told, ["a", "a", "b", "a", "b"]);
    story.queue.previous();
    story.drive();
    assert_eq!(story.heard()[0], "a");
    story.queue.previous();
    story.drive();
    assert_eq!(story.heard()[0], "b", "before the first is the last");
}

#[test]
fn what_cannot_be_played_is_told_and_passed_over() {
    let mut story = Story { broken: vec!["x", "y"], ..Story::default() };
    for name in ["x", "a", "y", "b"] {
        story.queue.add(name, None);
        story.drive();
    }
    assert_eq!(story.told, ["broken", "finished", "a", "broken"]);
    assert_eq!(story.heard(), ["a", "b"]);
    assert_eq!(story.queue.items().len(), 2, "it is not tried again");
    story.queue.set_repeat(QueueRepeat::All);
    let (next, _) = story.open.remove(1);
    story.queue.ended(next, &TrackEnd::SourceLost);
    story.drive();
    assert_eq!(story.heard(), ["a", "a"], "also what ends before its turn");

    let mut story = Story::of(&["a", "b"]);
    let (play, _) = story.open.remove(0);
    story.queue.ended(play, &TrackEnd::Failed("torn".into()));
    story.drive();
    assert_eq!(story.told, ["a", "torn", "b"]);
    assert_eq!(story.queue.items().len(), 1);

    let mut story = Story { broken: vec!["x"], ..Story::default() };
    story.queue.add("x", None);
    story.drive();
    assert_eq!(story.told, ["broken", "finished"]);
}

#[test]
fn shuffling_moves_all_that_are_to_come_and_nothing_else() {
    let mut story = Story::of(&["a", "b", "c", "d", "e"]);
    story.queue.shuffle(|_| 0);
    story.drive();
    let order: Vec<_> = story.queue.items().iter().map(|item| item.source).collect();
    assert_eq!(order, ["a", "c", "d", "e", "b"]);
    assert_eq!(story.heard(), ["a", "c"]);
    story.queue.shuffle(|below| below + 7);
    story.drive();
    assert_eq!(story.queue.items().len(), 5);
}

#[test]
fn without_a_call_nothing_begins_until_it_is_asked_for() {
    let mut story = Story::of(&["a", "b", "c"]);
    story.open.clear();
    assert!(story.queue.call_over() && !story.queue.call_over());
    assert_eq!(story.queue.current(), Some((story.id("a"), None)));
    story.queue.add("d", None);
    story.drive();
    assert!(story.heard().is_empty());
    let a = story.id("a");
    story.queue.jump(a);
    story.drive();
    assert_eq!(story.heard(), ["a", "b"]);
}

#[test]
fn a_queue_goes_on_elsewhere_where_it_was() {
    let restored = |place| {
        let queue = Queue::restored(["a", "b", "c"], place, QueueRepeat::Off);
        let mut story = Story { queue, ..Story::default() };
        story.drive();
        story
    };
    let mut story = restored(Some(1));
    assert_eq!(story.heard(), ["b", "c"]);
    assert!(story.queue.previous());
    story.drive();
    assert_eq!(story.heard(), ["a", "b"]);
    let mut story = restored(None);
    assert!(story.heard().is_empty());
    story.queue.add("d", None);
    story.drive();
    assert_eq!(story.heard(), ["d"]);
}

#[test]
fn a_full_queue_forgets_what_was_played_longest_ago() {
    let mut queue = Queue::default();
    for number in 0..10_000 {
        assert!(queue.add(number, None).is_some());
    }
    assert_eq!(queue.add(0, None), None);
    for _ in 0..2 {
        let Some((_, Some(play))) = queue.current() else { panic!("something plays") };
        queue.opened(play);
        queue.ended(play, &TrackEnd::Finished);
    }
    assert!(queue.add(7, None).is_some());
    assert_eq!((queue.items().len(), queue.items()[0].source), (10_000, 1));
}
