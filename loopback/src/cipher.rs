//! The transport modes.

/// A transport encryption mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `aead_aes256_gcm_rtpsize`.
    Aes256GcmRtpsize,
    /// `aead_xchacha20_poly1305_rtpsize`.
    XChaCha20Poly1305Rtpsize,
}

impl Mode {
    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "aead_aes256_gcm_rtpsize" => Some(Self::Aes256GcmRtpsize),
            "aead_xchacha20_poly1305_rtpsize" => Some(Self::XChaCha20Poly1305Rtpsize),
            _ => None,
        }
    }
}
