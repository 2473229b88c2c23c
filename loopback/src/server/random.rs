//! Everything random in the gateways: ids, SSRCs, tokens and keys, all from one seed.

/// The owner of the seed.
pub(super) struct RandomSource {
    random: fastrand::Rng,
    last_id: u64,
    last_ssrc: u32,
}

impl RandomSource {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), last_id: FIRST_ID, last_ssrc: FIRST_SSRC }
    }

    /// A new id of a user, guild or channel.
    pub(super) fn id(&mut self) -> u64 {
        // Ids that JSON numbers in floating point would damage, as real snowflakes are.
        self.last_id += 4_194_305;
        self.last_id
    }

    pub(super) fn ssrc(&mut self) -> u32 {
        self.last_ssrc += self.random.u32(1..100);
        self.last_ssrc
    }

    /// Random bytes as lower-case hexadecimal.
    pub(super) fn hex(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| format!("{:02x}", self.random.u8(..))).collect()
    }

    /// The key of a Session Description.
    pub(super) fn key(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.random.u8(..))
    }

    pub(super) fn bool(&mut self) -> bool {
        self.random.bool()
    }
}

const FIRST_ID: u64 = 1_100_000_000_000_000_000;
const FIRST_SSRC: u32 = 3_200;
