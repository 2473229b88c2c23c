//! What the manager tells its subscribers.

use std::time::Duration;

use actix::Message;

use super::delivery::Event;
use crate::{
    bridge::Suppression,
    call::{ConnectionStatus, EndReason},
    gateway::payload::SpeakingFlags,
    hearing::Talk,
    id::{ChannelId, GuildId, Ssrc, UserId},
    speaker::{Repeat, TrackEnd, TrackId},
    transport::{Deafness, DeafnessRemedy, PathStatus},
};

/// **VoiceManager → your actor.** Something happened in a call.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub struct CallEvent {
    /// The guild of the call.
    pub guild: GuildId,
    /// What happened.
    pub kind: CallEventKind,
}

impl CallEvent {
    /// Writes into the log what one would tell a friend, and the rest for those who look closer.
    pub(super) fn log(&self) {
        let (guild, kind) = (self.guild.0, &self.kind);
        match kind {
            CallEventKind::Connection(progress) => tracing::info!(guild, ?progress, "call"),
            CallEventKind::MediaPath(PathStatus::Dead(why)) => tracing::warn!(guild, %why, "UDP path"),
            CallEventKind::MediaPath(status) => tracing::info!(guild, ?status, "UDP path"),
            CallEventKind::Moved(channel) => tracing::info!(guild, channel = channel.0, "moved"),
            CallEventKind::E2ee(state) => {
                tracing::info!(guild, version = state.version, epoch = state.epoch, "encryption")
            }
            CallEventKind::TrackEnded(track, end) => {
                tracing::info!(guild, track = track.0, ?end, "track ended")
            }
            CallEventKind::UnannouncedMember(user) => {
                tracing::warn!(
                    guild,
                    user = user.0,
                    "the encrypted group has a member that was not announced"
                )
            }
            CallEventKind::Deaf(deafness, remedy) => {
                tracing::warn!(guild, ?deafness, ?remedy, "others speak and are not understood")
            }
            CallEventKind::Suppression(Some(silenced)) => tracing::warn!(guild, %silenced, "call"),
            CallEventKind::Ended(reason) => tracing::info!(guild, %reason, "call ended"),
            kind => tracing::debug!(guild, ?kind, "call"),
        }
    }
}

impl Event for CallEvent {
    fn is_final(&self) -> bool {
        matches!(self.kind, CallEventKind::Ended(_))
    }
}

/// What can happen in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEventKind {
    /// How the connection fares.
    Connection(ConnectionStatus),
    /// The UDP path died, or is back, while the voice session goes on.
    MediaPath(PathStatus),
    /// The bot is in another channel now; its tracks go on there.
    Moved(ChannelId),
    /// Whether nobody hears the bot though it speaks, and why: a moderator muted it, or it is in the audience of a stage
    /// channel.
    Suppression(Option<Suppression>),
    /// A user started, changed or ended speaking; by this SSRC its packets are known.
    Speaking {
        /// The user, where Discord names it.
        user: Option<UserId>,
        /// The source of its packets.
        ssrc: Ssrc,
        /// Microphone, soundshare, priority; none when it stopped.
        flags: SpeakingFlags,
    },
    /// Somebody began or ceased to speak, as the packets show it; only while anyone listens.
    Talk(Talk),
    /// Others speak, and for three seconds nothing of it could be understood; what is being done about it, if anything is.
    Deaf(Deafness, Option<DeafnessRemedy>),
    /// These users are in the channel.
    ClientsConnected(Vec<UserId>),
    /// This user left the channel.
    ClientDisconnected(UserId),
    /// The first frame of a track is on its way.
    TrackStarted(TrackId),
    /// The source of a track supplied nothing in time; silence is played until it does.
    TrackStalled(TrackId),
    /// A track is silent until it is resumed.
    TrackPaused(TrackId),
    /// A track goes on.
    TrackResumed(TrackId),
    /// A track goes on from there.
    TrackSeeked(TrackId, Duration),
    /// A track starts over, and how often it will again.
    TrackLooped(TrackId, Repeat),
    /// A track has come to a place at which somebody wanted to be told; see
    /// [`TrackHandle::notify_at`](super::TrackHandle::notify_at).
    TrackReached(TrackId, Duration),
    /// A track is over.
    TrackEnded(TrackId, TrackEnd),
    /// The end-to-end encryption of the call changed.
    E2ee(crate::transport::dave::E2eeState),
    /// The end-to-end encrypted group has a member whom Discord has not announced: someone who listens unseen, or an
    /// announcement that was lost.
    UnannouncedMember(UserId),
    /// The call is over; nothing follows.
    Ended(EndReason),
}
