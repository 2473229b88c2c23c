//! Recording: takes what is heard and what happens, and says what to write where.
//!
//! ```text
//!             pause                  finish
//!  Running ──────────▶ Paused ──────────────▶ Finished
//!     ▲ ◀──────────────── │ resume               ▲
//!     └──────────────────────────────────────────┘
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    Began, RecordingEnd, RecordingFile, Session, Settings, Speaker,
    journal::Journal,
    session::PrivacyCode,
    track::{Piece, Sound, Track},
};
use crate::{
    hearing::{Content, Heard},
    id::UserId,
};

/// What is heard on its way into files. Facts go in as methods; [`poll`](Self::poll) says what to write.
#[derive(Debug)]
pub struct Recording {
    settings: Settings,
    began: Began,
    state: State,
    tracks: BTreeMap<UserId, Track>,
    /// Those who opted out on the way.
    opted_out: BTreeSet<UserId>,
    journal: Journal,
    privacy_codes: Vec<PrivacyCode>,
    /// What comes later is not part of it.
    until: Option<Instant>,
    paused_packets: u64,
    unrecorded_packets: u64,
    flush_at: Instant,
    session_at: Instant,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Finished(RecordingEnd),
}

/// What to do with a file of the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Append these bytes, and let the system have them at once.
    Append(RecordingFile, Vec<u8>),
    /// Replace all that is in it, so that there is either the old or the new at any time.
    Replace(RecordingFile, Vec<u8>),
    /// Remove it: the speaker is not to be recorded. Lines of `labels.txt` that name the speaker go too.
    Forget(UserId),
}

impl Recording {
    /// A recording that begins now.
    #[must_use]
    pub fn new(settings: Settings, began: Began, now: Instant) -> Self {
        let mut recording = Self {
            settings,
            began,
            state: State::Running,
            tracks: BTreeMap::new(),
            opted_out: BTreeSet::new(),
            journal: Journal::default(),
            privacy_codes: Vec::new(),
            until: None,
            paused_packets: 0,
            unrecorded_packets: 0,
            flush_at: now,
            session_at: now,
            actions: VecDeque::new(),
        };
        recording.event(now, "began", json!({ "channel": recording.settings.channel }));
        recording
    }

    /// A frame was heard.
    pub fn heard(&mut self, heard: &Heard) {
        let late = self.until.is_some_and(|until| heard.arrived > until);
        if late || !self.records(heard.user) || matches!(self.state, State::Finished(_)) {
            return;
        }
        if self.state == State::Paused {
            self.paused_packets += u64::from(matches!(heard.content, Content::Opus(_)));
            return;
        }
        let known = self.tracks.len() as u32;
        if known >= SPEAKERS_MAX && !self.tracks.contains_key(&heard.user) {
            self.unrecorded_packets += 1;
            return;
        }
        let content = match &heard.content {
            Content::Opus(opus) => Sound::Opus(opus.clone()),
            Content::Lost { packets } => Sound::Lost(*packets),
            // What `Preset::Live` makes of packets is no recording.
            Content::Even => return,
        };
        let piece = Piece {
            stream: heard.stream,
            time: heard.time.cast_signed(),
            samples: heard.samples,
            arrived: self.began.position(heard.arrived),
            content,
        };
        let track = self.tracks.entry(heard.user);
        track.or_insert_with(|| Track::new(known + 1, heard.user.to_string())).heard(piece);
    }

    /// These users are in the channel.
    pub fn joined(&mut self, users: &[UserId], now: Instant) {
        for user in users.iter().filter(|user| self.records(**user)).copied().collect::<Vec<_>>() {
            self.event(now, "joined", json!({ "user": user }));
        }
    }

    /// A user left the channel.
    pub fn left(&mut self, user: UserId, now: Instant) {
        if self.records(user) {
            self.event(now, "left", json!({ "user": user }));
        }
    }

    /// The call's encryption changed.
    pub fn encrypted(&mut self, privacy_code: Option<&str>, now: Instant) {
        let Some(code) = privacy_code else { return };
        let known = self.privacy_codes.last().is_some_and(|last| last.code == code);
        if !known && self.privacy_codes.len() < PRIVACY_CODES_MAX {
            self.privacy_codes.push(PrivacyCode { at_ms: self.at_ms(now), code: code.to_owned() });
        }
        if !known {
            self.event(now, "privacy_code", json!({ "code": code }));
        }
    }

    /// The bot marks this moment.
    pub fn mark(&mut self, text: &str, now: Instant) {
        self.event(now, "marker", json!({ "text": text }));
        self.journal.marker(self.began.position(now), text);
    }

    /// A user does not want to be recorded: what was recorded of it is removed, and nothing is kept of it any more.
    pub fn refuse(&mut self, user: UserId, now: Instant) {
        if !self.opted_out.insert(user) {
            return;
        }
        self.tracks.remove(&user);
        self.event(now, "consent", json!({ "user": user, "given": false }));
        self.actions.push_back(Action::Forget(user));
    }

    /// A user that refused before agrees to be recorded from now on.
    pub fn agree(&mut self, user: UserId, now: Instant) {
        if self.opted_out.remove(&user) {
            self.event(now, "consent", json!({ "user": user, "given": true }));
        }
    }

    /// Records nothing until [`resume`](Self::resume); the time goes on, and is silent.
    pub fn pause(&mut self, now: Instant) {
        if self.state == State::Running {
            self.state = State::Paused;
            self.tracks.values_mut().for_each(Track::end_talkspurt);
            self.event(now, "paused", json!({}));
        }
    }

    /// Goes on recording.
    pub fn resume(&mut self, now: Instant) {
        if self.state == State::Paused {
            self.state = State::Running;
            self.event(now, "resumed", json!({}));
        }
    }

    /// Whether it pauses.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state == State::Paused
    }

    /// Takes only what came until this moment; it may be told of later.
    pub fn take_until(&mut self, moment: Instant) {
        self.until = Some(moment);
    }

    /// Ends the recording: all tracks end now. Nothing that is heard later is taken.
    pub fn finish(&mut self, end: RecordingEnd, now: Instant) {
        if matches!(self.state, State::Finished(_)) {
            return;
        }
        let position = self.began.position(now);
        self.tracks.values_mut().for_each(|track| track.finish(position));
        self.event(now, "ended", json!({ "why": end.to_string() }));
        self.state = State::Finished(end);
        self.write_out();
        self.write_session(now);
    }

    /// Whether this user is recorded.
    #[must_use]
    pub fn records(&self, user: UserId) -> bool {
        self.settings.selection.accepts(user) && !self.opted_out.contains(&user)
    }

    /// What to do next.
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        if !matches!(self.state, State::Finished(_)) {
            if now >= self.flush_at {
                self.flush_at = now + FLUSH_INTERVAL;
                let position = self.began.position(now);
                self.tracks.values_mut().for_each(|track| track.flush(position));
                self.write_out();
            }
            if now >= self.session_at {
                self.session_at = now + SESSION_INTERVAL;
                self.write_session(now);
            }
        }
        self.actions.pop_front()
    }

    /// When to ask again, whatever happens; none once it has ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Finished(_) => None,
            _ => Some(self.flush_at.min(self.session_at)),
        }
    }

    /// What is known of the recording.
    #[must_use]
    pub fn session(&self, now: Instant) -> Session {
        let end = match &self.state {
            State::Finished(end) => Some(end.clone()),
            _ => None,
        };
        let speaker = |(user, track): (&UserId, &Track)| {
            Speaker::new(*user, RecordingFile::Track(*user).to_string(), track.counts())
        };
        Session {
            began: self.began.rfc3339(),
            duration_ms: self.at_ms(now),
            end,
            privacy_codes: self.privacy_codes.clone(),
            speakers: self.tracks.iter().map(speaker).collect(),
            paused_packets: self.paused_packets,
            unrecorded_packets: self.unrecorded_packets,
            ..Session::new(&self.settings)
        }
    }

    fn write_out(&mut self) {
        for (user, track) in &mut self.tracks {
            for spurt in track.take_spurts() {
                self.journal.speech(*user, spurt);
            }
            let bytes = track.take();
            if !bytes.is_empty() {
                self.actions.push_back(Action::Append(RecordingFile::Track(*user), bytes));
            }
        }
        let lines = [
            (RecordingFile::Events, self.journal.take_events()),
            (RecordingFile::Labels, self.journal.take_labels()),
        ];
        let written = lines.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        self.actions.extend(written.map(|(file, bytes)| Action::Append(file, bytes)));
    }

    fn write_session(&mut self, now: Instant) {
        // It holds nothing that JSON cannot.
        let Ok(mut json) = serde_json::to_vec_pretty(&self.session(now)) else { return };
        json.push(b'\n');
        self.actions.push_back(Action::Replace(RecordingFile::Session, json));
    }

    fn event(&mut self, now: Instant, event: &str, details: serde_json::Value) {
        self.journal.event(self.at_ms(now), event, details);
    }

    fn at_ms(&self, now: Instant) -> u64 {
        self.began.elapsed(now).as_millis() as u64
    }
}

/// With the 400 ms in which a talkspurt is placed, and the 200 in which its first packet may be overtaken, less than a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
const SESSION_INTERVAL: Duration = Duration::from_secs(5);
/// A voice channel holds 99, and some come and go.
const SPEAKERS_MAX: u32 = 1_000;
/// One for each change of the group.
const PRIVACY_CODES_MAX: usize = 1_000;
