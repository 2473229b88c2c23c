//! Journal: the lines of `events.jsonl` and `labels.txt` that have not been written yet.

use serde_json::{Value, json};

use super::track::Talkspurt;
use crate::id::UserId;

#[derive(Debug, Default)]
pub(super) struct Journal {
    events: String,
    labels: String,
}

impl Journal {
    /// Writes down that something happened, so many milliseconds after the beginning.
    pub(super) fn event(&mut self, at_ms: u64, event: &str, details: Value) {
        let mut line = json!({ "at_ms": at_ms, "event": event });
        if let (Value::Object(line), Value::Object(details)) = (&mut line, details) {
            line.extend(details);
        }
        self.events += &line.to_string();
        self.events.push('\n');
    }

    /// Labels a stretch of speech with the speaker's id.
    pub(super) fn speech(&mut self, user: UserId, spurt: Talkspurt) {
        self.label(spurt.began, spurt.ended, &user.to_string());
    }

    /// Labels a moment, in samples at 48 kHz.
    pub(super) fn marker(&mut self, position: i64, text: &str) {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.label(position, position, &line);
    }

    fn label(&mut self, began: i64, ended: i64, text: &str) {
        let seconds = |position: i64| position as f64 / 48_000.0;
        self.labels += &format!("{:.6}\t{:.6}\t{text}\n", seconds(began), seconds(ended));
    }

    pub(super) fn take_events(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.events).into_bytes()
    }

    pub(super) fn take_labels(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.labels).into_bytes()
    }
}
