//! Sources made of files: one after another, or the same again and again.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use actix_voice::{
    actors::{Entry, Speak},
    audio::frame::Frame,
    source::{self, Source, SourceError},
};

/// Opens all files, so that one that cannot be played is known before a channel is joined, and makes entries of them.
///
/// # Errors
///
/// The first file that cannot be opened.
pub fn entries(files: &[PathBuf]) -> Result<Vec<Entry>, SourceError> {
    files.iter().map(|path| entry(path)).collect()
}

fn entry(path: &Path) -> Result<Entry, SourceError> {
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    let opened = source::open(path)?;
    if path.is_file() {
        return Ok(Entry::file(path));
    }
    // A pipe can be read once only, and has been opened to see what is in it.
    let name = path.display().to_string();
    let pipe = Mutex::new(Some(opened));
    Ok(Entry::speak(move |guild| {
        let pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        Speak::source(guild, pipe.unwrap_or_else(|| Box::new(ReadAlready { name: name.clone() })))
    }))
}

/// A pipe that was played before.
struct ReadAlready {
    name: String,
}

impl Source for ReadAlready {
    fn next_frame(&mut self) -> Result<Option<Frame>, SourceError> {
        let cause = "it is a pipe, which can be played once only".to_owned();
        Err(SourceError::Unreadable { name: self.name.clone(), cause })
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
    use std::time::Duration;

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
    fn a_missing_file_is_known_before_anything_is_played() {
        let error = entries(&[audio("speech.opus"), audio("nothing.opus")]).err().unwrap();
        assert!(
            matches!(&error, SourceError::NotFound { name } if name.ends_with("nothing.opus")),
            "{error}"
        );
        assert_eq!(entries(&[audio("speech.opus"), audio("music.opus")]).unwrap().len(), 2);
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
