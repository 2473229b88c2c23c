//! ffmpeg as a child process, for what is not decoded here.
//!
//! It stands with the sources, because a source may do what nothing else in `src/` may: open files, and wait for them. It
//! knows nothing of audio: bytes go in, a WAVE stream comes out.

mod report;

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub(crate) use self::report::Report;

/// Which ffmpeg plays what is not decoded here, if any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ffmpeg {
    /// The one that is found on the `PATH`.
    #[default]
    OnPath,
    /// This one.
    At(PathBuf),
    /// None: what is not decoded here is refused.
    Off,
}

/// What ffmpeg reads.
pub(crate) enum Feed {
    /// A file, which ffmpeg opens itself and may seek in.
    File(PathBuf),
    /// A stream, which is written into its standard input.
    Stream(Box<dyn Read + Send>),
}

/// What ffmpeg makes of it: a WAVE stream. Dropped, it ends the process, and waits for that.
pub(crate) struct Output {
    child: Child,
    /// `None` once it is dropped, so that whoever waits to send ends.
    chunks: Option<Mutex<Receiver<Vec<u8>>>>,
    current: Vec<u8>,
    at: usize,
    report: Arc<Report>,
    readers: Vec<JoinHandle<()>>,
    /// A file is read as fast as it is wanted; of a stream nobody knows when it goes on.
    patience: Option<Duration>,
}

impl Ffmpeg {
    /// Starts the process.
    ///
    /// # Errors
    /// That of the system; `NotFound` where there is no ffmpeg, or none is wanted.
    pub(crate) fn start(&self, feed: Feed) -> io::Result<Output> {
        let mut command = match self {
            Self::OnPath => Command::new("ffmpeg"),
            Self::At(path) => Command::new(path),
            Self::Off => return Err(io::ErrorKind::NotFound.into()),
        };
        command.args(["-hide_banner", "-nostats", "-loglevel", "level+info"]);
        let (patience, stream) = match feed {
            Feed::File(path) => {
                // The file may name others; none of them is fetched from anywhere.
                let mut name = std::ffi::OsString::from("file:");
                name.push(path);
                command
                    .args(["-nostdin", "-protocol_whitelist", "file", "-i"])
                    .arg(name)
                    .stdin(Stdio::null());
                (Some(PATIENCE), None)
            }
            Feed::Stream(reader) => {
                command.args(["-protocol_whitelist", "pipe", "-i", "pipe:0"]).stdin(Stdio::piped());
                (None, Some(reader))
            }
        };
        command.args(["-vn", "-sn", "-dn", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this process, which ends the other in its own time.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn()?;
        let (sender, chunks) = sync_channel(CHUNKS);
        let mut output = Output {
            child,
            chunks: Some(Mutex::new(chunks)),
            current: Vec::new(),
            at: 0,
            report: Arc::new(Report::default()),
            readers: Vec::new(),
            patience,
        };
        output.attend(sender, stream)?;
        Ok(output)
    }
}

impl Output {
    /// Starts a thread for each pipe of the process: none of them may fill up while another is waited for.
    fn attend(
        &mut self,
        sender: SyncSender<Vec<u8>>,
        stream: Option<Box<dyn Read + Send>>,
    ) -> io::Result<()> {
        if let Some(stdout) = self.child.stdout.take() {
            self.readers.push(spawn("ffmpeg output", move || pass_on(stdout, &sender))?);
        }
        if let Some(stderr) = self.child.stderr.take() {
            let report = self.report.clone();
            self.readers.push(spawn("ffmpeg messages", move || report.read(stderr))?);
        }
        if let (Some(stdin), Some(stream)) = (self.child.stdin.take(), stream) {
            // It may wait for the stream when everything else has ended, so nobody waits for it.
            spawn("ffmpeg input", move || feed(stream, stdin))?;
        }
        Ok(())
    }

    /// What the process says about its input and its troubles.
    pub(crate) fn report(&self) -> Arc<Report> {
        self.report.clone()
    }

    /// Waits for the next bytes; `false` at the end.
    fn next(&mut self) -> io::Result<bool> {
        let Some(chunks) = &self.chunks else { return Ok(false) };
        let chunks = chunks.lock().unwrap_or_else(PoisonError::into_inner);
        let received = match self.patience {
            Some(patience) => chunks.recv_timeout(patience),
            None => chunks.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        drop(chunks);
        match received {
            Ok(chunk) => {
                (self.current, self.at) = (chunk, 0);
                Ok(true)
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::other(format!("ffmpeg gave nothing for {} s", PATIENCE.as_secs())))
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.chunks = None;
                if self.child.wait()?.success() {
                    return Ok(false);
                }
                self.report.wait_for_end(LAST_WORDS_TIMEOUT);
                let trouble = self.report.trouble();
                Err(io::Error::other(trouble.unwrap_or_else(|| "ffmpeg failed".to_owned())))
            }
        }
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() && !self.next()? {
            return Ok(0);
        }
        let length = buffer.len().min(self.current.len() - self.at);
        buffer[..length].copy_from_slice(&self.current[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.chunks = None;
        // It may have ended by itself; either way it is waited for, so that it does not stay as a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Passes on what comes, as long as somebody takes it.
fn pass_on(mut from: impl Read, to: &SyncSender<Vec<u8>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => chunk.truncate(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        }
        if to.send(chunk).is_err() {
            return;
        }
    }
}

/// Feeds the process until it or the stream ends; a stream that fails ends there.
fn feed(mut from: impl Read, mut to: impl Write) {
    // Where the process has ended there is nobody to tell.
    let _ = io::copy(&mut from, &mut to);
}

/// How many pieces of output wait to be read, and how long each is: a second or so of sound, and as much in the pipe.
const CHUNKS: usize = 8;
const CHUNK: usize = 32 << 10;
/// How long ffmpeg may take over a piece of a file.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long its messages may take to arrive after it has ended.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);
