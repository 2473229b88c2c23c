//! What ffmpeg says about its input and its troubles, in lines on its standard error.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What ffmpeg has said so far.
#[derive(Default)]
pub(crate) struct Report {
    said: Mutex<Said>,
    changed: Condvar,
}

#[derive(Default)]
struct Said {
    /// Names and texts, of the whole and of its streams.
    tags: Vec<(String, String)>,
    duration: Option<Duration>,
    is_described: bool,
    is_guessed: bool,
    trouble: Option<String>,
    ended: bool,
}

impl Report {
    /// Reads lines to the end.
    pub(super) fn read(&self, from: impl Read) {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            // What has no end is read in parts.
            match lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => self.lock().take_line(String::from_utf8_lossy(&line).trim_end()),
            }
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, timeout: Duration, come: impl Fn(&Said) -> bool) -> MutexGuard<'_, Said> {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |said| !come(said) && !said.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn wait_for_end(&self, timeout: Duration) {
        drop(self.wait_until(timeout, |_| false));
    }

    /// The tags of the input and how long it lasts, once ffmpeg has said so.
    pub(crate) fn description(&self) -> (Vec<(String, String)>, Option<Duration>) {
        let said = self.wait_until(DESCRIPTION_TIMEOUT, |said| said.is_described);
        (said.tags.clone(), said.duration)
    }

    /// Whether ffmpeg took the input for something without being sure.
    pub(crate) fn is_guessed(&self) -> bool {
        self.wait_until(DESCRIPTION_TIMEOUT, |said| said.is_described).is_guessed
    }

    /// The first error.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }
}

impl Said {
    fn take_line(&mut self, line: &str) {
        if line.contains("misdetection possible") {
            self.is_guessed = true;
        }
        if let Some((_, error)) = line.split_once("[error] ").or_else(|| line.split_once("[fatal] ")) {
            // The name of the file, which stands before the cause, is told elsewhere.
            let cause = error.rsplit(": ").next().unwrap_or(error);
            self.trouble = Some(format!("ffmpeg: {cause}"));
        }
        let Some((_, text)) = line.split_once("[info] ").filter(|_| !self.is_described) else { return };
        if text.starts_with("Stream mapping") {
            self.is_described = true;
        } else if let Some(rest) = text.trim_start().strip_prefix("Duration: ") {
            self.duration = rest.split(',').next().and_then(clock);
        } else if let Some((name, text)) = text.split_once(" : ").or_else(|| text.split_once(": "))
            && name.starts_with("    ")
            && self.tags.len() < MAX_TAGS
        {
            self.tags.push((name.trim().to_owned(), text.trim().to_owned()));
        }
    }
}

/// Reads `00:01:02.50`; `N/A` is unknown.
fn clock(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    for part in text.trim().split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero())
}

/// How long ffmpeg may take to describe what it has already begun to play.
const DESCRIPTION_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines are cut here, and no more tags kept than these.
const LONGEST_LINE: u64 = 4_096;
const MAX_TAGS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_length_and_trouble_are_read_from_the_lines() {
        let report = Report::default();
        report.read(
            &b"[mp3 @ 0x55] [warning] Format mp3 detected only with low score of 1, misdetection possible!\n\
            [info] Input #0, asf, from 'file:a.wma':\n[info]   Metadata:\n[info]     title           : A: song\n\
            [info]   Duration: 00:01:02.50, start: 0.000000, bitrate: 5 kb/s\n[info] Stream mapping:\n\
            [info]     title           : not this\n[error] file:a.wma: Invalid data found\n"[..],
        );
        let (tags, duration) = report.description();
        assert_eq!(tags, [("title".to_owned(), "A: song".to_owned())]);
        assert_eq!(duration, Some(Duration::from_millis(62_500)));
        assert!(report.is_guessed());
        assert_eq!(report.trouble().as_deref(), Some("ffmpeg: Invalid data found"));
    }
}
