//! Networks of our own making, of which only figures were taken from measured ones: which packets they lose, and how late the others are.

use std::time::Duration;

/// Loss in runs: three in four are of one packet, the others long.
pub struct Losses {
    random: fastrand::Rng,
    /// The chance that a run of losses begins.
    begins: f64,
    left: u32,
}

impl Losses {
    /// So many of all packets are lost, in runs of 1.8 on average, as real ones are: 55 % of them are the last of their run.
    pub fn bursts(share: f64, seed: u64) -> Self {
        let begins = share / (1.0 - share) / MEAN_RUN;
        Self { random: fastrand::Rng::with_seed(seed), begins, left: 0 }
    }

    fn run(&mut self) -> u32 {
        if self.random.f64() < SINGLE {
            return 1;
        }
        let mean_more = (MEAN_RUN - SINGLE) / (1.0 - SINGLE) - 2.0;
        let goes_on = mean_more / (1.0 + mean_more);
        2 + (0..60).take_while(|_| self.random.f64() < goes_on).count() as u32
    }
}

impl Iterator for Losses {
    type Item = bool;

    /// Whether the next packet is lost.
    fn next(&mut self) -> Option<bool> {
        if self.left == 0 {
            let begins = self.random.f64() < self.begins;
            self.left = if begins { self.run() + 1 } else { 1 };
        }
        self.left -= 1;
        Some(self.left > 0)
    }
}

const MEAN_RUN: f64 = 1.8;
const SINGLE: f64 = 0.75;

/// How late packets are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    pub name: &'static str,
    /// Delays in ms that 0, 5, 25, 50, 75, 90, 95, 99 and 100 % of the packets do not exceed.
    quantiles: [f64; 9],
    /// How much of a delay is that of the packet before.
    memory: f64,
    /// Whether a packet never overtakes another.
    ordered: bool,
    /// Every so many packets the network stalls, for 60 to 160 ms.
    stalls: Option<u32>,
}

pub const WIRED: Path = Path {
    name: "wired",
    quantiles: [18.0, 18.1, 18.4, 19.0, 20.3, 22.6, 24.8, 32.0, 32.0],
    memory: 0.0,
    ordered: true,
    stalls: None,
};
pub const WIFI: Path = Path {
    name: "wifi",
    quantiles: [4.5, 8.2, 12.4, 18.2, 28.0, 36.0, 40.0, 48.0, 60.0],
    memory: 0.4,
    ordered: true,
    stalls: Some(400),
};
pub const MOBILE: Path = Path {
    name: "mobile",
    quantiles: [21.3, 29.5, 38.5, 52.3, 76.5, 97.8, 109.0, 135.3, 180.0],
    memory: 0.0,
    ordered: false,
    stalls: None,
};
pub const UNIFORM: Path = Path {
    name: "uniform",
    quantiles: [20.0, 22.9, 34.7, 50.0, 64.9, 74.0, 77.0, 79.4, 80.0],
    memory: 0.0,
    ordered: false,
    stalls: None,
};

const SHARES: [f64; 9] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0];

impl Path {
    /// The delays of so many packets, 20 ms apart.
    pub fn delays(&self, packets: usize, seed: u64) -> Vec<Duration> {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut before, mut last_arrival, mut stalled_until) = (random.f64(), 0.0_f64, 0.0_f64);
        let delay_of = |nth: usize| {
            before = if random.f64() < self.memory { before } else { random.f64() };
            let sent = 20.0 * nth as f64;
            if self.stalls.is_some_and(|every| random.u32(0..every) == 0) {
                stalled_until = sent + 60.0 + 100.0 * random.f64();
            }
            let mut arrival = (sent + self.quantile(before)).max(stalled_until.min(sent + 200.0));
            if self.ordered {
                arrival = arrival.max(last_arrival);
                last_arrival = arrival;
            }
            Duration::from_secs_f64((arrival - sent) / 1_000.0)
        };
        (0..packets).map(delay_of).collect()
    }

    fn quantile(&self, share: f64) -> f64 {
        let above = SHARES.iter().position(|known| *known >= share).unwrap_or(8).max(1);
        let part = (share - SHARES[above - 1]) / (SHARES[above] - SHARES[above - 1]);
        self.quantiles[above - 1] + part * (self.quantiles[above] - self.quantiles[above - 1])
    }
}
