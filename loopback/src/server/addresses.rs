//! Where clients are sent: the main gateway, and the voice server of each region.

/// The addresses that the listeners are bound to.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) gateway_url: String,
    /// The `host:port` of each voice region.
    endpoints: Vec<String>,
}

impl Addresses {
    pub(super) fn new(gateway_url: String, endpoints: Vec<String>) -> Self {
        Self { gateway_url, endpoints }
    }

    pub(super) fn endpoint(&self, region: usize) -> Option<&str> {
        self.endpoints.get(region).map(String::as_str)
    }

    pub(super) fn regions(&self) -> usize {
        self.endpoints.len()
    }
}
