//! Network emulation.

use std::time::Duration;

/// Network emulation.
#[derive(Debug, Clone, Default)]
pub struct Netem {
    /// Probability of loss.
    pub loss: f64,
    /// Probability of reordering.
    pub reorder: f64,
    /// Probability of duplication.
    pub duplicate: f64,
    /// Added delay.
    pub delay: Duration,
}
