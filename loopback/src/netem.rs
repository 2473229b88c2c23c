//! A network emulator: seeded loss, reordering, duplication and delay.

use std::time::Duration;

pub use trace::{Trace, TraceError};

mod trace;

/// What a network does to media and keepalives; IP discovery is never touched.
///
/// ```
/// use std::time::Duration;
/// use actix_voice_loopback::netem::Netem;
///
/// let bad_wifi = Netem { loss: 0.05, jitter: Duration::from_millis(30), ..Netem::default() };
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Netem {
    /// Share of packets that vanish, 0 to 1.
    pub loss: f64,
    /// Share of packets held back for 30 ms, so that those behind overtake them, 0 to 1.
    pub reorder: f64,
    /// Share of packets that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// How long every packet is under way.
    pub delay: Duration,
    /// How much longer, at most, a packet may be under way; drawn evenly for each.
    pub jitter: Duration,
    /// Which way it happens.
    pub direction: Direction,
}

/// Which way a network is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Direction {
    /// From the member to the relay and back.
    #[default]
    Both,
    /// From the member to the relay.
    Up,
    /// From the relay to the member.
    Down,
}

/// When the copies of one packet arrive after it was sent: none, one or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    copies: [Option<Duration>; 2],
}

impl Fate {
    /// One copy, at once.
    pub(crate) fn at_once() -> Self {
        Self { copies: [Some(Duration::ZERO), None] }
    }

    /// The delays of the copies that arrive.
    pub fn arrivals(self) -> impl Iterator<Item = Duration> {
        self.copies.into_iter().flatten()
    }
}

/// One direction of one member's path; equal seeds see equal fates.
#[derive(Clone, Debug)]
pub struct Path {
    random: fastrand::Rng,
}

impl Path {
    /// Makes a path whose fates follow from this seed.
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed) }
    }

    /// Decides over the next packet.
    ///
    /// The same number of draws is made for each, so a packet's fate depends on its place and not on the settings
    /// of those before it.
    pub fn fate(&mut self, netem: &Netem) -> Fate {
        let [lost, held, twice, wobble] = std::array::from_fn(|_| self.random.f64());
        if lost < netem.loss {
            return Fate { copies: [None, None] };
        }
        let reorder_delay = if held < netem.reorder { REORDER_DELAY } else { Duration::ZERO };
        let delay = netem.delay + netem.jitter.mul_f64(wobble) + reorder_delay;
        Fate { copies: [Some(delay), (twice < netem.duplicate).then_some(delay)] }
    }
}

impl Netem {
    pub(crate) fn up(&self) -> Self {
        if self.direction == Direction::Down { Self::default() } else { *self }
    }

    pub(crate) fn down(&self) -> Self {
        if self.direction == Direction::Up { Self::default() } else { *self }
    }
}

/// One and a half 20 ms packets, so that at least one overtakes.
const REORDER_DELAY: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Direction, Fate, Netem, Path};

    const BAD: Netem = Netem {
        loss: 0.2,
        reorder: 0.1,
        duplicate: 0.1,
        delay: Duration::from_millis(40),
        jitter: Duration::from_millis(5),
        direction: Direction::Both,
    };

    fn fates(seed: u64, netem: Netem) -> Vec<Fate> {
        let mut path = Path::new(seed);
        (0..10_000).map(|_| path.fate(&netem)).collect()
    }

    #[test]
    fn equal_seeds_see_equal_fates_and_others_do_not() {
        assert_eq!(fates(7, BAD), fates(7, BAD));
        assert_ne!(fates(7, BAD), fates(8, BAD));
    }

    #[test]
    fn the_shares_are_what_was_asked_for() {
        let fates = fates(1, BAD);
        let lost = fates.iter().filter(|fate| fate.arrivals().count() == 0).count();
        let twice = fates.iter().filter(|fate| fate.arrivals().count() == 2).count();
        let held = fates
            .iter()
            .filter(|fate| fate.arrivals().next().is_some_and(|delay| delay >= Duration::from_millis(70)))
            .count();
        assert!((1_800..2_200).contains(&lost), "{lost} lost");
        assert!((650..950).contains(&twice), "{twice} of the 8000 twice");
        assert!((650..950).contains(&held), "{held} of the 8000 held back");
    }

    #[test]
    fn a_perfect_network_delivers_each_packet_once_and_at_once() {
        assert!(fates(3, Netem::default()).iter().all(|fate| fate.arrivals().eq([Duration::ZERO])));
    }

    #[test]
    fn a_one_way_fault_leaves_the_other_way_alone() {
        let up = Netem { direction: Direction::Up, ..BAD };
        assert_eq!((up.up(), up.down()), (up, Netem::default()));
        let down = Netem { direction: Direction::Down, ..BAD };
        assert_eq!((down.up(), down.down()), (Netem::default(), down));
    }
}
