//! Sources made of files: one after another, or the same again and again.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::Duration,
};

use actix_voice::{
    audio::frame::Frame,
    source::{self, Source, SourceError},
};

use crate::screen::Screen;

/// Files played one after another; a damaged one is played up to the damage, which is reported at the end.
pub struct Playlist {
    playing: Box<dyn Source>,
    queue: VecDeque<Queued>,
    /// Why the last file that was skipped did not play to its end.
    damage: Option<SourceError>,
    length: Option<Duration>,
    screen: Option<Screen>,
}

/// What is to be played after what plays.
enum Queued {
    /// A file, which is opened again when its turn comes.
    File(PathBuf),
    /// A pipe, which can be read once only, and has been opened to see what is in it.
    Pipe(Box<dyn Source>),
}

impl Playlist {
    /// Opens all files, so that one that cannot be played is known before a channel is joined.
    ///
    /// # Errors
    ///
    /// The first file that cannot be opened.
    pub fn open(files: &[PathBuf]) -> Result<Self, SourceError> {
        let (first, others) =
            files.split_first().map_or((Path::new(""), files), |(first, others)| (first, others));
        let playing = source::open(first)?;
        let mut length = playing.duration();
        let mut queue = VecDeque::new();
        for path in others {
            let next = source::open(path)?;
            length = length.zip(next.duration()).map(|(length, next)| length + next);
            queue.push_back(if path.is_file() { Queued::File(path.clone()) } else { Queued::Pipe(next) });
        }
        Ok(Self { playing, queue, damage: None, length, screen: None })
    }

    /// Reports on this screen when a file is skipped.
    pub fn report_to(self, screen: Screen) -> Self {
        Self { screen: Some(screen), ..self }
    }

    /// Gives the file that plays up for the next.
    fn skip(&mut self, damage: SourceError) {
        if let Some(screen) = self.screen.as_ref().filter(|_| !self.queue.is_empty()) {
            screen.print_line(format_args!("{damage}; going on with the next file"));
        }
        self.damage = Some(damage);
    }
}

impl Source for Playlist {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        loop {
            match self.playing.next_frame() {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(damage) => self.skip(damage),
            }
            match self.queue.pop_front() {
                None => return self.damage.take().map_or(Ok(None), Err),
                Some(Queued::Pipe(next)) => self.playing = next,
                Some(Queued::File(path)) => match source::open(path) {
                    Ok(next) => self.playing = next,
                    Err(damage) => self.skip(damage),
                },
            }
        }
    }

    fn duration(&self) -> Option<Duration> {
        self.length
    }
}

/// Opens the source that is repeated.
type OpenSource = Box<dyn FnMut() -> Result<Box<dyn Source>, SourceError> + Send>;

/// The same played again and again.
pub struct Repeated {
    open: OpenSource,
    playing: Box<dyn Source>,
    frames_left: Option<u64>,
}

impl Repeated {
    /// Opens it for the first time.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn new(
        mut open: impl FnMut() -> Result<Box<dyn Source>, SourceError> + Send + 'static,
    ) -> Result<Self, SourceError> {
        let playing = open()?;
        Ok(Self { open: Box::new(open), playing, frames_left: None })
    }

    /// Ends after so many frames.
    pub fn limit(self, frames: u64) -> Self {
        Self { frames_left: Some(frames), ..self }
    }
}

impl Source for Repeated {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        if let Some(left) = &mut self.frames_left {
            let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
            *left = fewer;
        }
        if let Some(frame) = self.playing.next_frame()? {
            return Ok(Some(frame));
        }
        self.playing = (self.open)()?;
        self.playing.next_frame()
    }

    fn may_block(&self) -> bool {
        self.playing.may_block()
    }
}

#[cfg(test)]
mod tests {
    use actix_voice::{audio::frame::Pcm, source::Tone};

    use super::*;

    /// So many frames, then an end or damage.
    struct Frames(u64, Option<SourceError>);

    impl Source for Frames {
        fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
            let Some(fewer) = self.0.checked_sub(1) else { return self.1.take().map_or(Ok(None), Err) };
            self.0 = fewer;
            Ok(Some(Frame::Pcm(Pcm::default())))
        }
    }

    fn audio(name: &str) -> PathBuf {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/audio")).join(name)
    }

    fn count(source: &mut impl Source) -> u64 {
        std::iter::from_fn(|| source.next_frame().unwrap()).count() as u64
    }

    #[test]
    fn files_follow_each_other_without_a_frame_between() {
        let alone = |name| count(&mut Playlist::open(&[audio(name)]).unwrap());
        let (speech, music) = (alone("speech.opus"), alone("music.opus"));
        let mut both = Playlist::open(&[audio("speech.opus"), audio("music.opus")]).unwrap();
        assert_eq!(count(&mut both), speech + music);
    }

    #[test]
    fn a_missing_file_is_known_before_anything_is_played() {
        let error = Playlist::open(&[audio("speech.opus"), audio("nothing.opus")]).err().unwrap();
        assert!(
            matches!(&error, SourceError::NotFound { name } if name.ends_with("nothing.opus")),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_file_does_not_keep_the_next_from_being_played_and_is_reported_at_the_end() {
        let damage = SourceError::Unsupported { name: "broken".into(), cause: "torn".into() };
        let mut playlist = Playlist::open(&[audio("speech.opus"), audio("music.opus")]).unwrap();
        playlist.playing = Box::new(Frames(3, Some(damage.clone())));
        let music = count(&mut Playlist::open(&[audio("music.opus")]).unwrap());
        for _ in 0..3 + music {
            assert!(playlist.next_frame().unwrap().is_some());
        }
        assert_eq!(playlist.next_frame().err(), Some(damage));
        assert!(playlist.next_frame().unwrap().is_none());
    }

    #[test]
    fn what_is_repeated_goes_on_for_as_long_as_was_said() {
        let mut repeated = Repeated::new(|| Ok(Box::new(Frames(3, None)))).unwrap().limit(8);
        assert_eq!(count(&mut repeated), 8);
    }

    #[test]
    fn what_is_empty_is_not_repeated_for_ever() {
        let mut repeated = Repeated::new(|| Ok(Box::new(Tone::new(440.0).lasting(Duration::ZERO)))).unwrap();
        assert_eq!(count(&mut repeated), 0);
    }
}
