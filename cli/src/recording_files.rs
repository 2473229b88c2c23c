//! The folder of a recording once it is over: repaired, mixed, shown as a page, and told of.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use actix_voice::{
    audio::{
        frame::{FRAME_SAMPLES, SILENCE},
        opus,
    },
    id::UserId,
    recording::{
        self, MixFormat, OpusReader, PageTrack, RecordingEnd, RecordingFile, Session, Speaker, Stretch,
        TrackPlayer, format_length,
    },
};

use crate::{exit::Failure, wording::count};

/// A folder with a recording in it.
pub struct RecordingFolder {
    path: PathBuf,
    /// What `session.json` says.
    pub session: Session,
}

impl RecordingFolder {
    /// Opens a folder.
    ///
    /// # Errors
    ///
    /// When there is no recording in it.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = path.join(RecordingFile::Session.to_string());
        let json = fs::read(&file).map_err(|error| failed(&file, &error))?;
        let session = serde_json::from_slice(&json).map_err(|error| failed(&file, &error))?;
        Ok(Self { path: path.to_owned(), session })
    }

    /// Mends what was cut off: tracks end with their last whole page, and have an end, and the session says what is in them.
    /// Returns how many were mended.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written.
    pub fn repair(&mut self) -> Result<usize, Failure> {
        let mut mended = 0;
        for name in self.track_files()? {
            mended += usize::from(self.repair_track(&name)?);
        }
        if mended > 0 {
            let file = self.path.join(RecordingFile::Session.to_string());
            let json = serde_json::to_vec_pretty(&self.session).map_err(|error| failed(&file, &error))?;
            fs::write(&file, json).map_err(|error| failed(&file, &error))?;
        }
        Ok(mended)
    }

    fn repair_track(&mut self, name: &str) -> Result<bool, Failure> {
        let path = self.path.join(name);
        let failed = |error: io::Error| failed(&path, &error);
        let mut reader = OpusReader::new(BufReader::new(File::open(&path).map_err(failed)?))
            .map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
        let (mut packets, mut spoken, mut missing, mut silent) = (0, 0, 0, 0);
        while let Some(stretch) = reader.next_stretch().map_err(failed)? {
            match stretch {
                Stretch::Missing(samples) => missing += u64::from(samples),
                Stretch::Sound(packet) => {
                    let samples = u64::from(opus::samples(&packet).unwrap_or(0));
                    // Silence of any length is two bytes a frame.
                    if packet.ends_with(&SILENCE[1..]) {
                        silent += samples;
                    } else {
                        (packets, spoken) = (packets + 1, spoken + samples);
                    }
                }
                _ => {}
            }
        }
        if reader.is_complete() {
            return Ok(false);
        }
        let mut file = fs::OpenOptions::new().append(true).open(&path).map_err(failed)?;
        file.set_len(reader.whole_bytes()).map_err(failed)?;
        file.write_all(&reader.last_page()).map_err(failed)?;
        if let Some(user) = user_of(name) {
            let lost = missing / FRAME_SAMPLES as u64;
            let speaker = Speaker::found(user, packets, lost, (spoken + missing) / 48);
            self.session.found(speaker, (spoken + missing + silent) / 48);
        }
        Ok(true)
    }

    /// Writes all tracks as one; returns the file.
    ///
    /// # Errors
    ///
    /// When a track cannot be played, or the mix not written.
    pub fn mix(&self, format: MixFormat) -> Result<PathBuf, Failure> {
        let path = self.path.join(format.file_name());
        let tracks = self.track_files()?.iter().map(|name| self.player(name)).collect::<Result<_, _>>()?;
        let file = File::create(&path).map_err(|error| failed(&path, &error))?;
        let mut into = BufWriter::new(file);
        let written = recording::mix(tracks, format, &mut into).map_err(|error| failed(&path, &error));
        written.and_then(|_| into.flush().map_err(|error| failed(&path, &error)))?;
        Ok(path)
    }

    /// Writes `index.html`; returns the file.
    ///
    /// # Errors
    ///
    /// When a track cannot be played, or the page not written.
    pub fn write_page(&self) -> Result<PathBuf, Failure> {
        let mut files = self.track_files()?;
        let mixes = [MixFormat::Ogg, MixFormat::Flac].map(MixFormat::file_name);
        files.extend(mixes.into_iter().filter(|name| self.path.join(name).exists()).map(str::to_owned));
        let tracks = files.iter().map(|name| self.page_track(name)).collect::<Result<Vec<_>, _>>()?;
        let labels =
            fs::read_to_string(self.path.join(RecordingFile::Labels.to_string())).unwrap_or_default();
        let path = self.path.join(PAGE);
        let page = recording::page(&self.session, &tracks, &labels);
        fs::write(&path, page).map_err(|error| failed(&path, &error))?;
        Ok(path)
    }

    fn page_track(&self, name: &str) -> Result<PageTrack, Failure> {
        let path = self.path.join(name);
        // A mix that is no Ogg has the waveform of none.
        let peaks = if name.ends_with(".ogg") { peaks(self.player(name)?)? } else { Vec::new() };
        let title = name.rsplit_once('.').map_or(name, |(title, _)| title);
        let track = PageTrack::new(name, title, peaks);
        let length = fs::metadata(&path).map_err(|error| failed(&path, &error))?.len();
        if length > EMBEDDED_MAX {
            return Ok(track);
        }
        Ok(track.content(fs::read(&path).map_err(|error| failed(&path, &error))?))
    }

    fn player(&self, name: &str) -> Result<TrackPlayer<BufReader<File>>, Failure> {
        let path = self.path.join(name);
        let file = File::open(&path).map_err(|error| failed(&path, &error))?;
        TrackPlayer::new(BufReader::new(file)).map_err(|error| failed(&path, &error))
    }

    /// The tracks in the folder, also of speakers whom the session does not name since it was cut off.
    fn track_files(&self) -> Result<Vec<String>, Failure> {
        let entries = fs::read_dir(&self.path).map_err(|error| failed(&self.path, &error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut tracks: Vec<_> = names.filter(|name| user_of(name).is_some()).collect();
        tracks.sort();
        Ok(tracks)
    }

    /// The files, what is in them, and how to listen.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read.
    pub fn describe(&self) -> Result<String, Failure> {
        let entries = fs::read_dir(&self.path).map_err(|error| failed(&self.path, &error))?;
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        let mut text = format!("{}  {}\n", self.path.display(), format_length(self.session.duration_ms));
        for (at, name) in names.iter().enumerate() {
            let branch = if at + 1 == names.len() { "└──" } else { "├──" };
            let line = format!("{branch} {name:<24} {}", self.describe_file(name));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let listen = [PAGE, MixFormat::Ogg.file_name(), MixFormat::Flac.file_name()];
        let best = listen.into_iter().find(|name| self.path.join(name).exists());
        match (best, self.session.speakers.first()) {
            (Some(PAGE), _) => {
                let _ = write!(text, "open {} in a browser", self.path.join(PAGE).display());
            }
            (Some(file), _) => {
                let _ = write!(text, "listen: mpv {}", self.path.join(file).display());
            }
            (None, Some(_)) => {
                let _ = write!(
                    text,
                    "listen: mpv {0}/*.ogg, or open all tracks and labels.txt in Audacity; one file of all: actix-voice record \
                     --repair {0} --mix ogg",
                    self.path.display()
                );
            }
            (None, None) => text.push_str("nobody was heard"),
        }
        Ok(text)
    }

    fn describe_file(&self, name: &str) -> String {
        let Some(speaker) = self.session.speakers.iter().find(|speaker| speaker.file == name) else {
            return String::new();
        };
        let all = (speaker.packets + speaker.lost).max(1);
        format!(
            "{} of speech in {}; {} lost ({:.1} %)",
            format_length(speaker.spoken_ms),
            count(speaker.packets, "packet"),
            speaker.lost,
            speaker.lost as f64 * 100.0 / all as f64
        )
    }
}

/// Whose track a file is, by its name.
fn user_of(name: &str) -> Option<UserId> {
    name.strip_suffix(".ogg")?.parse().ok()
}

/// A recording that did not end as it was asked to is a failure, though what there is of it is whole.
///
/// # Errors
///
/// The end, unless it was stopped.
pub fn check_end(session: &Session) -> Result<(), Failure> {
    match &session.end {
        Some(RecordingEnd::Stopped) | None => Ok(()),
        Some(end) => Err(Failure::Other(end.to_string())),
    }
}

/// The loudest sample of each thousandth of a track.
fn peaks(mut track: TrackPlayer<BufReader<File>>) -> Result<Vec<f32>, Failure> {
    let mut frames = Vec::new();
    while let Some(frame) = track.next_frame().map_err(|error| Failure::Other(error.to_string()))? {
        frames.push(frame.peak());
    }
    let at_once = frames.len().div_ceil(PEAKS).max(1);
    Ok(frames.chunks(at_once).map(|chunk| chunk.iter().copied().fold(0.0, f32::max)).collect())
}

fn failed(file: &Path, error: &impl ToString) -> Failure {
    Failure::Other(format!("{}: {}", file.display(), error.to_string()))
}

const PAGE: &str = "index.html";
/// How wide waveforms are, in pixels.
const PEAKS: usize = 1_000;
/// Half an hour of speech; browsers open no longer ones well.
const EMBEDDED_MAX: u64 = 16 << 20;
