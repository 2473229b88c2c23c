//! Hearing: what each listener of a call is told of the packets that come.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    Format, Heard, ListenId, Preset, Selection, Shape, SpeakerStats, VoicePacket, VoiceTick,
    talk::{Talk, Talks},
    voice::{Voice, VoiceId},
};
use crate::{
    audio::frame::FRAME,
    id::{GuildId, UserId},
};

/// The machine of one call.
pub struct Hearing {
    guild: GuildId,
    groups: Vec<Group>,
    talks: Talks,
    /// What those whose voices are gone came to.
    past: Vec<SpeakerStats>,
    last_stream: u64,
    /// When the next tick is due, while there is anything to hear.
    next_tick: Option<Instant>,
    tick: u64,
    actions: VecDeque<Action>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Give this listener a frame.
    Frame(ListenId, Heard),
    /// Give this listener all frames of a tick.
    Tick(ListenId, VoiceTick),
    /// Tell that somebody began or ceased to speak.
    Talk(Talk),
}

/// Those who listen with one preset and one format, and what they share.
struct Group {
    preset: Preset,
    format: Format,
    listeners: Vec<Ear>,
    voices: HashMap<VoiceId, Voice>,
}

struct Ear {
    id: ListenId,
    selection: Selection,
    shape: Shape,
    /// The frames of the next tick.
    frames: Vec<Heard>,
}

impl Hearing {
    /// Nobody listens yet.
    pub fn new(guild: GuildId) -> Self {
        Self {
            guild,
            groups: Vec::new(),
            talks: Talks::default(),
            past: Vec::new(),
            last_stream: 0,
            next_tick: None,
            tick: 0,
            actions: VecDeque::new(),
        }
    }

    /// Somebody listens from now on.
    pub fn listen(
        &mut self,
        id: ListenId,
        preset: Preset,
        format: Format,
        selection: Selection,
        shape: Shape,
    ) {
        self.stop(id);
        let format = if preset == Preset::Live && format == Format::Opus { Format::Stereo } else { format };
        let ear = Ear { id, selection, shape, frames: Vec::new() };
        match self.groups.iter_mut().find(|group| group.preset == preset && group.format == format) {
            Some(group) => group.listeners.push(ear),
            None => {
                let (listeners, voices) = (vec![ear], HashMap::new());
                self.groups.push(Group { preset, format, listeners, voices });
            }
        }
    }

    /// Somebody listens no more.
    pub fn stop(&mut self, id: ListenId) {
        for group in &mut self.groups {
            group.listeners.retain(|ear| ear.id != id);
            if group.listeners.is_empty() {
                let gone = group.voices.drain().map(|(_, voice)| voice.stats());
                gone.for_each(|stats| SpeakerStats::merge(&mut self.past, stats));
            }
        }
        self.groups.retain(|group| !group.listeners.is_empty());
    }

    /// A packet came.
    pub fn packet(&mut self, packet: VoicePacket, now: Instant) {
        self.talks.packet(packet.user, packet.ssrc, &packet.packet.opus, now);
        let id = VoiceId { user: packet.user, ssrc: packet.ssrc };
        for group in self.groups.iter_mut().filter(|group| group.wants(packet.user)) {
            if !group.voices.contains_key(&id) {
                if group.voices.len() >= MAX_VOICES
                    && let Some(voice) = group.remove_longest_unused()
                {
                    SpeakerStats::merge(&mut self.past, voice.stats());
                }
                group.voices.insert(id, Voice::new(self.guild, id, group.preset, group.format));
            }
            let Some(voice) = group.voices.get_mut(&id) else { continue };
            voice.packet(packet.packet.clone(), now);
            group.hand_on(id, now, &self.talks, &mut self.last_stream, &mut self.actions);
        }
        self.next_tick.get_or_insert(now + FRAME);
    }

    /// A user left the channel: what waits of it is told now.
    pub fn left(&mut self, user: UserId) {
        self.talks.left(user);
        for group in &mut self.groups {
            let voices: Vec<VoiceId> = group.voices.keys().filter(|id| id.user == user).copied().collect();
            for id in voices {
                group.flush(id, &self.talks, &mut self.last_stream, &mut self.actions);
                if let Some(voice) = group.voices.remove(&id) {
                    SpeakerStats::merge(&mut self.past, voice.stats());
                }
            }
        }
    }

    /// Nothing more is to come: what waits is told now.
    pub fn finish(&mut self) {
        let users: Vec<UserId> =
            self.groups.iter().flat_map(|group| group.voices.keys().map(|id| id.user)).collect();
        users.into_iter().for_each(|user| self.left(user));
        self.end_tick();
    }

    /// Says what is to be done.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        for group in &mut self.groups {
            let due: Vec<VoiceId> = group.due(now).collect();
            for id in due {
                group.hand_on(id, now, &self.talks, &mut self.last_stream, &mut self.actions);
            }
        }
        while let Some(at) = self.next_tick.filter(|at| *at <= now) {
            self.play_tick(at, now);
        }
        self.actions.extend(self.talks.poll(now).map(Action::Talk));
        self.actions.pop_front()
    }

    /// When to poll again though nothing came.
    pub fn deadline(&self) -> Option<Instant> {
        let voices = self.groups.iter().flat_map(|group| group.voices.values());
        voices.filter_map(Voice::deadline).chain(self.next_tick).chain(self.talks.deadline()).min()
    }

    /// What became of the packets of each speaker, for each preset in use.
    pub fn stats(&self) -> Vec<SpeakerStats> {
        let mut all = self.past.clone();
        for group in &self.groups {
            let voices = group.voices.values().map(|voice| voice.stats());
            voices.for_each(|stats| SpeakerStats::merge(&mut all, stats));
        }
        all
    }

    /// Plays the tick that was due at `at`.
    fn play_tick(&mut self, at: Instant, now: Instant) {
        for group in &mut self.groups {
            let live = group.preset == Preset::Live;
            let voices: Vec<VoiceId> = group.voices.keys().copied().filter(|_| live).collect();
            for id in voices {
                if let Some(voice) = group.voices.get_mut(&id) {
                    voice.tick(at, &mut self.last_stream);
                }
                group.hand_on(id, at, &self.talks, &mut self.last_stream, &mut self.actions);
            }
            for voice in group.remove_idle(at) {
                SpeakerStats::merge(&mut self.past, voice.stats());
            }
        }
        self.end_tick();
        // Too far behind to be caught up with.
        let missed = now.saturating_duration_since(at) > MAX_CATCH_UP;
        let idle = self.groups.iter().all(|group| group.voices.values().all(Voice::is_idle));
        self.next_tick = (!idle).then(|| if missed { now + FRAME } else { at + FRAME });
    }

    fn end_tick(&mut self) {
        for ear in self.groups.iter_mut().flat_map(|group| &mut group.listeners) {
            if !ear.frames.is_empty() {
                let (guild, tick, frames) = (self.guild, self.tick, std::mem::take(&mut ear.frames));
                self.actions.push_back(Action::Tick(ear.id, VoiceTick { guild, tick, frames }));
            }
        }
        self.tick += 1;
    }
}

impl Group {
    /// Whether anyone in it may hear this user.
    fn wants(&self, user: UserId) -> bool {
        self.listeners.iter().any(|ear| ear.selection.accepts(user))
    }

    fn due(&self, now: Instant) -> impl Iterator<Item = VoiceId> + use<'_> {
        let due = move |voice: &Voice| voice.deadline().is_some_and(|deadline| deadline <= now);
        self.voices.iter().filter(move |(_, voice)| due(voice)).map(|(id, _)| *id)
    }

    /// Tells the frames of a voice whose time has come.
    fn hand_on(
        &mut self,
        id: VoiceId,
        now: Instant,
        talks: &Talks,
        last_stream: &mut u64,
        actions: &mut VecDeque<Action>,
    ) {
        while let Some(heard) = self.voices.get_mut(&id).and_then(|voice| voice.poll(now, last_stream)) {
            self.tell(&heard, talks, actions);
        }
    }

    /// Tells all frames of a voice.
    fn flush(&mut self, id: VoiceId, talks: &Talks, last_stream: &mut u64, actions: &mut VecDeque<Action>) {
        while let Some(heard) = self.voices.get_mut(&id).and_then(|voice| voice.flush(last_stream)) {
            self.tell(&heard, talks, actions);
        }
    }

    fn tell(&mut self, heard: &Heard, talks: &Talks, actions: &mut VecDeque<Action>) {
        for ear in self.listeners.iter_mut().filter(|ear| ear.hears(heard.user, talks)) {
            match ear.shape {
                Shape::Frames => actions.push_back(Action::Frame(ear.id, heard.clone())),
                Shape::Ticks => ear.frames.push(heard.clone()),
            }
        }
    }

    fn remove_longest_unused(&mut self) -> Option<Voice> {
        let (id, _) = self.voices.iter().min_by_key(|(_, voice)| voice.last_packet())?;
        let id = *id;
        self.voices.remove(&id)
    }

    /// Lets voices go that have not been heard for long.
    fn remove_idle(&mut self, now: Instant) -> impl Iterator<Item = Voice> + use<'_> {
        let unused = move |voice: &Voice| {
            voice.last_packet().is_none_or(|last| now.saturating_duration_since(last) > MAX_UNUSED)
        };
        self.voices.extract_if(move |_, voice| voice.is_idle() && unused(voice)).map(|(_, voice)| voice)
    }
}

impl Ear {
    fn hears(&self, user: UserId, talks: &Talks) -> bool {
        let first = self.selection.first_of(|user| talks.speaks(user));
        self.selection.accepts(user) && first.is_none_or(|first| first == user)
    }
}

/// Voices of a group: more than a channel has members who speak.
const MAX_VOICES: usize = 256;
/// How long a voice is kept that says nothing.
const MAX_UNUSED: Duration = Duration::from_secs(60);
/// How far ticks may be behind and still be played one after the other.
const MAX_CATCH_UP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
