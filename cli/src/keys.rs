//! Keys: what a person presses while it plays, on a terminal. The terminal is as it was on every end but a kill.

use std::time::Duration;

use tokio::sync::mpsc;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key {
    /// Space: pause, or go on.
    Pause,
    /// n: the next.
    Next,
    /// p: the one before.
    Previous,
    /// Left and right: so many seconds back or forth.
    Seek(i64),
    /// Up and down: so many dB louder.
    Volume(f32),
    /// q: the end.
    Quit,
}

/// What the keys do, for the screen.
pub const HELP: &str = "space pause · n next · p previous · ←/→ 10 s · ↑/↓ volume · q quit";

/// The keys, for as long as it is kept.
pub struct Keys {
    keys: mpsc::Receiver<Key>,
    #[cfg(unix)]
    _terminal: terminal::KeyByKey,
}

impl Keys {
    /// Listens to the keys, if standard input is a terminal.
    pub fn listen() -> Option<Self> {
        #[cfg(unix)]
        {
            let terminal = terminal::KeyByKey::set()?;
            let (to, keys) = mpsc::channel(WAITING);
            let listening = std::thread::Builder::new().name("keys".into()).spawn(move || read(&to));
            listening.ok().map(|_| Self { keys, _terminal: terminal })
        }
        #[cfg(not(unix))]
        None
    }

    /// The next key; never, where there are none.
    pub async fn next(keys: &mut Option<Self>) -> Key {
        let next = match keys {
            Some(keys) => keys.keys.recv().await,
            None => None,
        };
        match next {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

/// The thread ends with the process: nothing ends a read from a terminal.
#[cfg(unix)]
fn read(to: &mpsc::Sender<Key>) {
    use std::io::Read;
    let mut bytes = [0; 8];
    while let Ok(read @ 1..) = std::io::stdin().read(&mut bytes) {
        for key in parse(&bytes[..read]) {
            // Whoever holds a key down need not be waited for.
            if to.try_send(key).is_err() && to.is_closed() {
                return;
            }
        }
    }
}

fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some(first) = bytes.first() {
        let (key, length) = match bytes {
            [0x1b, b'[' | b'O', arrow, ..] => (arrow_key(*arrow), 3),
            _ => (plain_key(*first), 1),
        };
        keys.extend(key);
        bytes = &bytes[length..];
    }
    keys
}

fn arrow_key(arrow: u8) -> Option<Key> {
    Some(match arrow {
        b'A' => Key::Volume(VOLUME_STEP),
        b'B' => Key::Volume(-VOLUME_STEP),
        b'C' => Key::Seek(SEEK_STEP),
        b'D' => Key::Seek(-SEEK_STEP),
        _ => return None,
    })
}

fn plain_key(key: u8) -> Option<Key> {
    Some(match key {
        b' ' => Key::Pause,
        b'n' => Key::Next,
        b'p' => Key::Previous,
        b'q' => Key::Quit,
        b'+' => Key::Volume(VOLUME_STEP),
        b'-' => Key::Volume(-VOLUME_STEP),
        _ => return None,
    })
}

/// A place so many seconds from another.
pub fn moved(from: Duration, seconds: i64) -> Duration {
    let step = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { from.saturating_sub(step) } else { from + step }
}

#[cfg(unix)]
mod terminal {
    use std::io::{IsTerminal, stdin};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// A terminal that gives keys one by one and shows none; dropped, it is as it was.
    pub struct KeyByKey(Termios);

    impl KeyByKey {
        pub fn set() -> Option<Self> {
            if !stdin().is_terminal() {
                return None;
            }
            let before = tcgetattr(stdin()).ok()?;
            let mut modes = before.clone();
            // Ctrl-C stays what it is.
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(stdin(), OptionalActions::Now, &modes).ok()?;
            Some(Self(before))
        }
    }

    impl Drop for KeyByKey {
        fn drop(&mut self) {
            // A terminal that is gone needs no care.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
        }
    }
}

const SEEK_STEP: i64 = 10;
/// In dB.
const VOLUME_STEP: f32 = 2.0;
/// Keys that may wait; more are not heard.
const WAITING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_arrows_are_told_apart_and_others_ignored() {
        assert_eq!(
            parse(b" n\x1b[Cp\x1b[Dq"),
            [Key::Pause, Key::Next, Key::Seek(10), Key::Previous, Key::Seek(-10), Key::Quit]
        );
        assert_eq!(parse(b"\x1b[A\x1bOB+-"), [2.0, -2.0, 2.0, -2.0].map(Key::Volume));
        assert_eq!(parse(b"xyz\x1b"), []);
        assert_eq!(parse(b"\x1b[H"), []);
    }

    #[test]
    fn one_cannot_go_back_beyond_the_start() {
        assert_eq!(moved(Duration::from_secs(4), -10), Duration::ZERO);
        assert_eq!(moved(Duration::from_secs(4), 10), Duration::from_secs(14));
    }
}
