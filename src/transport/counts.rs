//! Counts: what a path has sent, received and ignored, and why.

use std::ops::AddAssign;

use super::cipher::CipherError;
use super::rtp::RtpError;

/// Why a datagram was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ignored {
    /// It is empty, or ends before header, tag and nonce are complete.
    TooShort,
    /// It is neither RTP nor anything else we know.
    NotRtp,
    /// It is RTCP, which a bot has no use for.
    Rtcp,
    /// It is RTP, but not Opus: video, or a retransmission.
    ForeignPayloadType,
    /// It is voice, and nobody listens.
    Unheard,
    /// It is voice that came before the key.
    NotYet,
    /// It was sealed under another key, or changed on its way.
    WrongKey,
    /// It was seen before, or is too old to tell.
    Replayed,
    /// Its header extension is longer than the packet.
    BadExtension,
    /// Its padding does not fit the packet.
    BadPadding,
    /// It holds nothing, or nothing but padding.
    Empty,
    /// It is an answer to discovery that nobody waits for, or one without an address.
    StrayDiscovery,
    /// It is the echo of a keepalive other than the newest.
    StrayKeepalive,
}

impl Ignored {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::TooShort,
        Self::NotRtp,
        Self::Rtcp,
        Self::ForeignPayloadType,
        Self::Unheard,
        Self::NotYet,
        Self::WrongKey,
        Self::Replayed,
        Self::BadExtension,
        Self::BadPadding,
        Self::Empty,
        Self::StrayDiscovery,
        Self::StrayKeepalive,
    ];
}

impl Ignored {
    /// A word for it that does not change.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::NotRtp => "not_rtp",
            Self::Rtcp => "rtcp",
            Self::ForeignPayloadType => "foreign_payload_type",
            Self::Unheard => "unheard",
            Self::NotYet => "not_yet",
            Self::WrongKey => "wrong_key",
            Self::Replayed => "replayed",
            Self::BadExtension => "bad_extension",
            Self::BadPadding => "bad_padding",
            Self::Empty => "empty",
            Self::StrayDiscovery => "stray_discovery",
            Self::StrayKeepalive => "stray_keepalive",
        }
    }
}

impl From<RtpError> for Ignored {
    fn from(error: RtpError) -> Self {
        match error {
            RtpError::TooShort => Self::TooShort,
            RtpError::NotRtp => Self::NotRtp,
            RtpError::Rtcp => Self::Rtcp,
            RtpError::BadExtension => Self::BadExtension,
            RtpError::BadPadding => Self::BadPadding,
            RtpError::Empty => Self::Empty,
        }
    }
}

impl From<CipherError> for Ignored {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::TooShort => Self::TooShort,
            CipherError::TooLong | CipherError::WrongKey | CipherError::Exhausted => Self::WrongKey,
        }
    }
}

/// What a path has done since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Voice packets that the system took.
    pub sent_packets: u64,
    /// Their length in bytes, with header, tag and nonce, without UDP and IP.
    pub sent_bytes: u64,
    /// Keepalives that the system took.
    pub keepalives: u64,
    /// Datagrams received, of any kind.
    pub received_packets: u64,
    /// Their length in bytes, without UDP and IP.
    pub received_bytes: u64,
    /// Voice packets among them that were opened and handed on.
    pub voice_packets: u64,
    /// Datagrams that were [`Ignored::TooShort`].
    pub too_short: u64,
    /// Datagrams that were [`Ignored::NotRtp`].
    pub not_rtp: u64,
    /// Datagrams that were [`Ignored::Rtcp`].
    pub rtcp: u64,
    /// Datagrams that were [`Ignored::ForeignPayloadType`].
    pub foreign_payload_type: u64,
    /// Datagrams that were [`Ignored::Unheard`].
    pub unheard: u64,
    /// Datagrams that were [`Ignored::NotYet`].
    pub not_yet: u64,
    /// Datagrams that were [`Ignored::WrongKey`].
    pub wrong_key: u64,
    /// Datagrams that were [`Ignored::Replayed`].
    pub replayed: u64,
    /// Datagrams that were [`Ignored::BadExtension`].
    pub bad_extension: u64,
    /// Datagrams that were [`Ignored::BadPadding`].
    pub bad_padding: u64,
    /// Datagrams that were [`Ignored::Empty`].
    pub empty: u64,
    /// Datagrams that were [`Ignored::StrayDiscovery`].
    pub stray_discovery: u64,
    /// Datagrams that were [`Ignored::StrayKeepalive`].
    pub stray_keepalive: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent_packets += other.sent_packets;
        self.sent_bytes += other.sent_bytes;
        self.keepalives += other.keepalives;
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.voice_packets += other.voice_packets;
        for reason in Ignored::ALL {
            *self.of_mut(reason) += other.of(reason);
        }
    }
}

impl Counts {
    /// Returns how many datagrams were ignored for one reason.
    pub fn of(&self, reason: Ignored) -> u64 {
        *self.clone().of_mut(reason)
    }

    pub(super) fn of_mut(&mut self, reason: Ignored) -> &mut u64 {
        match reason {
            Ignored::TooShort => &mut self.too_short,
            Ignored::NotRtp => &mut self.not_rtp,
            Ignored::Rtcp => &mut self.rtcp,
            Ignored::ForeignPayloadType => &mut self.foreign_payload_type,
            Ignored::Unheard => &mut self.unheard,
            Ignored::NotYet => &mut self.not_yet,
            Ignored::WrongKey => &mut self.wrong_key,
            Ignored::Replayed => &mut self.replayed,
            Ignored::BadExtension => &mut self.bad_extension,
            Ignored::BadPadding => &mut self.bad_padding,
            Ignored::Empty => &mut self.empty,
            Ignored::StrayDiscovery => &mut self.stray_discovery,
            Ignored::StrayKeepalive => &mut self.stray_keepalive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_two_sessions_add_up_to_those_of_the_call() {
        let mut one = Counts {
            sent_packets: 1,
            sent_bytes: 2,
            keepalives: 3,
            received_packets: 4,
            received_bytes: 5,
            voice_packets: 6,
            ..Counts::default()
        };
        Ignored::ALL.into_iter().zip(7..).for_each(|(reason, count)| *one.of_mut(reason) = count);
        let mut sum = one.clone();
        sum += one;
        assert_eq!((sum.sent_packets, sum.sent_bytes, sum.keepalives), (2, 4, 6));
        assert_eq!((sum.received_packets, sum.received_bytes, sum.voice_packets), (8, 10, 12));
        let ignored = Ignored::ALL.map(|reason| sum.of(reason));
        assert_eq!(ignored, [14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38]);
    }
}
