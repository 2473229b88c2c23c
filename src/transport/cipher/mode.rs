//! Mode: the ways to encrypt packets, by Discord's names.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "retired-modes")]
use super::NONCE;
use super::TAG;
#[cfg(feature = "retired-modes")]
use crate::transport::rtp::FIXED_HEADER;
use crate::transport::rtp::Header;

/// A way to encrypt packets, as Ready offers and SessionDescription names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// `aead_aes256_gcm_rtpsize`, the fastest; missing where the server's hardware has no AES.
    Aes256GcmRtpsize,
    /// `aead_xchacha20_poly1305_rtpsize`, which every server offers.
    XChaCha20Poly1305Rtpsize,
    /// `xsalsa20_poly1305_lite_rtpsize`, retired.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305LiteRtpsize,
    /// `aead_aes256_gcm`, retired.
    #[cfg(feature = "retired-modes")]
    Aes256Gcm,
    /// `xsalsa20_poly1305_lite`, retired.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305Lite,
    /// `xsalsa20_poly1305_suffix`, retired.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305Suffix,
    /// `xsalsa20_poly1305`, retired. Its nonce is the RTP header, so a key lasts for one turn of the
    /// timestamp, which is a day.
    #[cfg(feature = "retired-modes")]
    XSalsa20Poly1305,
}

impl Mode {
    /// Every mode of this build, the best first.
    pub const ALL: &'static [Self] = &[
        Self::Aes256GcmRtpsize,
        Self::XChaCha20Poly1305Rtpsize,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305LiteRtpsize,
        #[cfg(feature = "retired-modes")]
        Self::Aes256Gcm,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305Lite,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305Suffix,
        #[cfg(feature = "retired-modes")]
        Self::XSalsa20Poly1305,
    ];

    /// Returns Discord's name of the mode.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256GcmRtpsize => "aead_aes256_gcm_rtpsize",
            Self::XChaCha20Poly1305Rtpsize => "aead_xchacha20_poly1305_rtpsize",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305LiteRtpsize => "xsalsa20_poly1305_lite_rtpsize",
            #[cfg(feature = "retired-modes")]
            Self::Aes256Gcm => "aead_aes256_gcm",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305Lite => "xsalsa20_poly1305_lite",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305Suffix => "xsalsa20_poly1305_suffix",
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305 => "xsalsa20_poly1305",
        }
    }

    /// Returns how many bytes the mode leaves clear at the front of a packet with this header.
    pub fn clear(self, header: &Header) -> usize {
        match self {
            Self::Aes256GcmRtpsize | Self::XChaCha20Poly1305Rtpsize => header.rtpsize(),
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305LiteRtpsize => header.rtpsize(),
            #[cfg(feature = "retired-modes")]
            _ => FIXED_HEADER,
        }
    }

    /// Returns by how many bytes sealing lengthens a packet.
    pub const fn overhead(self) -> usize {
        TAG + self.nonce_on_wire()
    }

    /// Returns how many bytes of the nonce follow the packet.
    pub(super) const fn nonce_on_wire(self) -> usize {
        match self {
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305 => 0,
            #[cfg(feature = "retired-modes")]
            Self::XSalsa20Poly1305Suffix => NONCE,
            _ => 4,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, UnknownMode> {
        let known = Self::ALL.iter().find(|mode| mode.name() == name);
        known.copied().ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

/// A mode that this build cannot speak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "transport mode {0:?} is unknown; if it is one that Discord retired, build with the feature `retired-modes`"
)]
pub struct UnknownMode(pub String);
