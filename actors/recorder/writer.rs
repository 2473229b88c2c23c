//! Writer: a thread that writes the files of a recording, so that a slow disk holds up no arbiter.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

use tokio::sync::oneshot;

use crate::{
    id::UserId,
    recording::{Action, RecordingEnd, RecordingFile},
};

/// The way to the thread. The thread ends, with all written, once this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    work: SyncSender<Work>,
}

enum Work {
    Do(Action),
    /// Bring all to the disk, and say so.
    Finish(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the thread in an existing folder. The first failure is told, and nothing is written after it.
    ///
    /// # Errors
    /// What starting a thread returns.
    pub(super) fn start(
        folder: PathBuf,
        failed: impl FnOnce(RecordingEnd) + Send + 'static,
    ) -> io::Result<Self> {
        let (work, todo) = sync_channel(WAITING_MAX);
        let run = move || Folder::new(folder).work(&todo, failed);
        thread::Builder::new().name("recording".into()).spawn(run)?;
        Ok(Self { work })
    }

    /// Has this done, after all that was to be done before.
    ///
    /// # Errors
    /// [`RecordingEnd::TooSlow`] where so much waits that the disk must hang.
    pub(super) fn write(&self, action: Action) -> Result<(), RecordingEnd> {
        match self.work.try_send(Work::Do(action)) {
            // It has panicked.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(RecordingEnd::TooSlow { waiting: WAITING_MAX as u64 }),
        }
    }

    /// Resolves when all is on the disk, or nothing more will be.
    pub(super) fn finish(&self) -> impl Future<Output = ()> + use<> {
        let (done, finished) = oneshot::channel();
        let asked = self.work.try_send(Work::Finish(done));
        async move {
            if asked.is_ok() {
                // A thread that has failed drops the sender.
                let _ = finished.await;
            }
        }
    }
}

/// The folder of a recording.
struct Folder {
    path: PathBuf,
    open: BTreeMap<RecordingFile, File>,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        Self { path, open: BTreeMap::new() }
    }

    fn work(mut self, todo: &Receiver<Work>, failed: impl FnOnce(RecordingEnd)) {
        let mut failed = Some(failed);
        while let Ok(work) = todo.recv() {
            match work {
                // Behind what is missing nothing is appended; what is known of the recording is still written, if it can be.
                Work::Do(Action::Append(..)) if failed.is_none() => {}
                Work::Do(action) => {
                    let done = self.carry_out(action);
                    if let Some((failed, (file, error))) = failed.take_if(|_| done.is_err()).zip(done.err()) {
                        failed(end_of(&file, &error));
                    }
                }
                Work::Finish(done) => {
                    // What the system has, it will write; an error here is none of a file that is not there.
                    self.open.values().for_each(|file| drop(file.sync_all()));
                    let _ = done.send(());
                }
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Result<(), (String, io::Error)> {
        match action {
            Action::Append(file, bytes) => {
                self.append(file, &bytes).map_err(|error| (file.to_string(), error))
            }
            Action::Replace(file, bytes) => {
                self.replace(file, &bytes).map_err(|error| (file.to_string(), error))
            }
            Action::Forget(user) => {
                let file = RecordingFile::Track(user);
                self.forget(user).map_err(|error| (file.to_string(), error))
            }
        }
    }

    /// Appends all or nothing, so that the file stays whole when the disk is full.
    fn append(&mut self, file: RecordingFile, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(file.to_string());
        let open = match self.open.entry(file) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        let length = open.metadata()?.len();
        open.write_all(bytes).inspect_err(|_| {
            // Where this fails too, the last page is cut off, which readers bear.
            let _ = open.set_len(length);
        })
    }

    fn replace(&self, file: RecordingFile, bytes: &[u8]) -> io::Result<()> {
        replace(&self.path.join(file.to_string()), bytes)
    }

    fn forget(&mut self, user: UserId) -> io::Result<()> {
        let file = RecordingFile::Track(user);
        self.open.remove(&file);
        let removed = fs::remove_file(self.path.join(file.to_string()));
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        let labels = self.path.join(RecordingFile::Labels.to_string());
        let Ok(text) = fs::read_to_string(&labels) else { return Ok(()) };
        let of_user = format!("\t{user}");
        let kept = text.lines().filter(|line| !line.ends_with(&of_user)).flat_map(|line| [line, "\n"]);
        // The next line is appended to the new file.
        self.open.remove(&RecordingFile::Labels);
        replace(&labels, kept.collect::<String>().as_bytes())
    }
}

/// Puts a new file in the place of the old one, of which there is one or the other at any time.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

fn end_of(file: &str, error: &io::Error) -> RecordingEnd {
    let file = file.to_owned();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => RecordingEnd::DiskFull { file },
        _ => RecordingEnd::NotWritten { file, why: error.to_string() },
    }
}

/// Half a minute of a few speakers: each is written four times a second.
const WAITING_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("actix-voice-writer-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    const ANNA: RecordingFile = RecordingFile::Track(UserId(1));

    #[tokio::test]
    async fn files_grow_are_replaced_and_forgotten_in_order() {
        let path = folder("order");
        let writer = Writer::start(path.clone(), |end| panic!("{end}")).unwrap();
        let append = |file, text: &str| writer.write(Action::Append(file, text.into())).unwrap();
        append(ANNA, "one");
        append(ANNA, "two");
        append(RecordingFile::Labels, "0\t1\t1\n0\t1\t21\n");
        writer.write(Action::Replace(RecordingFile::Session, b"old".to_vec())).unwrap();
        writer.write(Action::Replace(RecordingFile::Session, b"new".to_vec())).unwrap();
        writer.finish().await;
        assert_eq!(fs::read_to_string(path.join("1.ogg")).unwrap(), "onetwo");
        writer.write(Action::Forget(UserId(1))).unwrap();
        append(RecordingFile::Labels, "2\t2\tx\n");
        append(ANNA, "three");
        writer.finish().await;
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!((read("1.ogg"), read("session.json")), ("three".into(), "new".into()));
        assert_eq!(read("labels.txt"), "0\t1\t21\n2\t2\tx\n");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "nothing else is left");
        fs::remove_dir_all(path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_a_typed_end() {
        let path = folder("full");
        std::os::unix::fs::symlink("/dev/full", path.join("1.ogg")).unwrap();
        let (told, ends) = mpsc::channel();
        let writer = Writer::start(path.clone(), move |end| told.send(end).unwrap()).unwrap();
        writer.write(Action::Append(ANNA, vec![1; 100])).unwrap();
        assert_eq!(ends.recv().unwrap(), RecordingEnd::DiskFull { file: "1.ogg".into() });
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_folder_that_is_gone_is_a_typed_end() {
        let (told, ends) = mpsc::channel();
        let path = folder("gone");
        fs::remove_dir_all(&path).unwrap();
        let writer = Writer::start(path, move |end| told.send(end).unwrap()).unwrap();
        writer.write(Action::Append(ANNA, vec![1; 100])).unwrap();
        let end = ends.recv().unwrap();
        assert!(matches!(&end, RecordingEnd::NotWritten { file, .. } if file == "1.ogg"), "{end}");
    }
}
