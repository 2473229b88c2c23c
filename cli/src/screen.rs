//! What a person sees while it plays: a progress bar where there is a terminal, and lines on stderr everywhere.

use std::{
    fmt::Display,
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The progress bar and the lines above it; the clones are the same one.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
    lines: Lines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Shown,
    Hidden,
}

impl Screen {
    /// A screen that shows how much has been played, and of what total length if that is known.
    pub fn new(total: Option<Duration>) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let (length, template) = match total {
            Some(total) => (Some(millis(total)), "{bar:40.cyan/dim} {msg}"),
            None => (None, "{spinner} {msg}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(length, target).with_style(style);
        bar.set_message("joining");
        Self { bar, lines: Lines::Shown }
    }

    /// A screen that shows nothing.
    pub fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), lines: Lines::Hidden }
    }

    /// Writes a line to stderr, above the bar.
    pub fn print_line(&self, line: impl Display) {
        if self.lines == Lines::Shown {
            // A terminal that is gone ends nothing.
            let write = || drop(writeln!(std::io::stderr(), "{line}"));
            self.bar.suspend(write);
        }
    }

    /// Shows how much has been played.
    pub fn show_progress(&self, so_far: Duration) {
        let total = self.bar.length().map(Duration::from_millis);
        self.bar.set_position(millis(so_far));
        self.bar.set_message(match total {
            Some(total) => format!("{:.1} s of {:.1} s", so_far.as_secs_f64(), total.as_secs_f64()),
            None => format!("{:.1} s", so_far.as_secs_f64()),
        });
    }

    /// Shows what plays, and how long it lasts if that is known.
    pub fn show_track(&self, title: Option<&str>, artist: Option<&str>, length: Option<Duration>) {
        match length {
            Some(length) => self.bar.set_length(millis(length)),
            None => self.bar.unset_length(),
        }
        match (title, artist) {
            (Some(title), Some(artist)) => self.print_line(format_args!("♪ {title}, {artist}")),
            (Some(title), None) => self.print_line(format_args!("♪ {title}")),
            _ => {}
        }
    }

    /// Shows how much has been recorded, and what there is to say about it.
    pub fn show_recording(&self, so_far: Duration, what: &str) {
        self.bar.set_position(millis(so_far));
        self.bar.set_message(what.to_owned());
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
