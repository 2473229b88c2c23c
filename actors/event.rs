//! What the manager tells its subscribers.

use actix::Message;

use crate::{
    bridge::Silenced,
    call::{EndReason, Progress},
    gateway::payload::SpeakingFlags,
    id::{ChannelId, GuildId, Ssrc, UserId},
    speaker::{TrackEnd, TrackId},
};

/// **VoiceManager → your actor.** Something happened in a call.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct CallEvent {
    /// The guild of the call.
    pub guild: GuildId,
    /// What happened.
    pub what: What,
}

impl CallEvent {
    /// Writes into the log what one would tell a friend, and the rest for those who look closer.
    pub(super) fn log(&self) {
        let (guild, what) = (self.guild.0, &self.what);
        match what {
            What::Connection(progress) => tracing::info!(guild, ?progress, "call"),
            What::Moved(channel) => tracing::info!(guild, channel = channel.0, "moved"),
            What::E2ee(state) => {
                tracing::info!(guild, version = state.version, epoch = state.epoch, "encryption")
            }
            What::TrackEnded(track, end) => tracing::info!(guild, track = track.0, ?end, "track ended"),
            What::Silenced(Some(silenced)) => tracing::warn!(guild, %silenced, "call"),
            What::Ended(reason) => tracing::info!(guild, %reason, "call ended"),
            what => tracing::debug!(guild, ?what, "call"),
        }
    }
}

/// What can happen in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// How the connection fares.
    Connection(Progress),
    /// The bot is in another channel now; its tracks go on there.
    Moved(ChannelId),
    /// Whether nobody hears the bot though it speaks, and why: a moderator muted it, or it is in the audience of a stage
    /// channel.
    Silenced(Option<Silenced>),
    /// A user started, changed or ended speaking; by this SSRC its packets are known.
    Speaking {
        /// The user, where Discord names it.
        user: Option<UserId>,
        /// The source of its packets.
        ssrc: Ssrc,
        /// Microphone, soundshare, priority; none when it stopped.
        flags: SpeakingFlags,
    },
    /// These users are in the channel.
    ClientsConnected(Vec<UserId>),
    /// This user left the channel.
    ClientDisconnected(UserId),
    /// The first frame of a track is on its way.
    TrackStarted(TrackId),
    /// The source of a track supplied nothing in time; silence is played until it does.
    TrackStalled(TrackId),
    /// A track is over.
    TrackEnded(TrackId, TrackEnd),
    /// The end-to-end encryption of the call changed.
    E2ee(crate::transport::dave::E2eeState),
    /// The call is over; nothing follows.
    Ended(EndReason),
}
