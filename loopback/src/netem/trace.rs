//! Trace: what became of each packet, one after another, instead of what a seed decides.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::Fate;

/// Which packets of a stream are lost, and how long the others are under way.
///
/// ```
/// use std::time::Duration;
/// use actix_voice_loopback::netem::Trace;
///
/// let two_lost = Trace::lost([17, 18]);
/// let bursts = Trace::parse("0000110000")?;
/// let wobbly = bursts.delayed([12.0, 40.5, 12.0].map(|ms: f64| Duration::from_secs_f64(ms / 1000.0)));
/// # Ok::<(), actix_voice_loopback::netem::TraceError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    losses: Losses,
    /// Each for one packet, then from the start.
    delays: Arc<[Duration]>,
    packets: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Losses {
    /// The packets of these numbers are lost.
    Numbers(BTreeSet<u64>),
    /// Each for one packet, then from the start.
    Pattern(Arc<[bool]>),
}

impl Default for Losses {
    fn default() -> Self {
        Self::Numbers(BTreeSet::new())
    }
}

/// Why a text is no trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// It is neither of the two.
    #[error("line {line} is neither a row of 0 and 1 nor a delay in milliseconds: {text:?}")]
    Malformed {
        /// Which line, the first being 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Trace {
    /// Loses the packets of these numbers, the first being 0; all others arrive at once.
    pub fn lost(packets: impl IntoIterator<Item = u64>) -> Self {
        Self { losses: Losses::Numbers(packets.into_iter().collect()), ..Self::default() }
    }

    /// Loses each packet for which the pattern says so; it begins again when it is over.
    pub fn pattern(lost: impl IntoIterator<Item = bool>) -> Self {
        Self { losses: Losses::Pattern(lost.into_iter().collect()), ..Self::default() }
    }

    /// Delays packets by these, one after another and again from the start.
    pub fn delayed(self, delays: impl IntoIterator<Item = Duration>) -> Self {
        Self { delays: delays.into_iter().collect(), ..self }
    }

    /// Reads a trace: rows of 0 and 1, a packet each, where 1 is lost; or delays in milliseconds, one a line.
    ///
    /// # Errors
    /// [`TraceError::Malformed`] and [`TraceError::Empty`].
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let (mut lost, mut delays) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line = line.trim();
            let malformed = || TraceError::Malformed { line: number + 1, text: line.to_owned() };
            if line.bytes().all(|byte| matches!(byte, b'0' | b'1')) && delays.is_empty() {
                lost.extend(line.bytes().map(|byte| byte == b'1'));
            } else {
                let delay = line.parse::<f64>().ok().filter(|_| lost.is_empty());
                let delay = delay.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
                delays.push(delay.ok_or_else(malformed)?);
            }
        }
        match (lost.is_empty(), delays.is_empty()) {
            (true, true) => Err(TraceError::Empty),
            (true, false) => Ok(Self::default().delayed(delays)),
            _ => Ok(Self::pattern(lost)),
        }
    }

    /// Reads a trace from a file; see [`parse`](Self::parse).
    ///
    /// # Errors
    /// As there, and [`TraceError::Io`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Self::parse(&fs::read_to_string(path)?)
    }

    /// Decides over the next packet.
    pub fn fate(&mut self) -> Fate {
        let number = self.packets;
        self.packets += 1;
        let lost = match &self.losses {
            Losses::Numbers(numbers) => numbers.contains(&number),
            Losses::Pattern(pattern) => turn(pattern, number).copied().unwrap_or(false),
        };
        let delay = turn(&self.delays, number).copied().unwrap_or_default();
        Fate { copies: [(!lost).then_some(delay), None] }
    }
}

fn turn<T>(values: &[T], number: u64) -> Option<&T> {
    values.get(number.checked_rem(values.len() as u64)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(trace: &mut Trace, packets: usize) -> Vec<Option<u128>> {
        let delay = |fate: Fate| fate.arrivals().next().map(|delay| delay.as_millis());
        (0..packets).map(|_| delay(trace.fate())).collect()
    }

    #[test]
    fn the_numbers_that_are_said_are_lost_and_no_others() {
        assert_eq!(arrivals(&mut Trace::lost([1, 3]), 5), [Some(0), None, Some(0), None, Some(0)]);
    }

    #[test]
    fn patterns_and_delays_begin_again_each_on_its_own() {
        let mut trace = Trace::parse("01\n0\n").unwrap().delayed([5, 7].map(Duration::from_millis));
        assert_eq!(arrivals(&mut trace, 6), [Some(5), None, Some(5), Some(7), None, Some(7)]);
    }

    #[test]
    fn delays_are_milliseconds_a_line_and_nonsense_is_refused_with_its_line() {
        let mut delays = Trace::parse("12.0\n\n40.5\n").unwrap();
        assert_eq!(arrivals(&mut delays, 3), [Some(12), Some(40), Some(12)]);
        for (text, expected) in [("12\nx\n", "line 2"), ("0101\n5.5\n", "line 2"), ("-3\n", "line 1")] {
            let refused = Trace::parse(text).unwrap_err().to_string();
            assert!(refused.starts_with(expected), "{refused}");
        }
        assert!(matches!(Trace::parse(" \n"), Err(TraceError::Empty)));
    }
}
