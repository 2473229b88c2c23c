//! Listen: who wants to hear the others of a call, and how.

use std::fmt;

use actix::{Message, Recipient};
use tokio::sync::mpsc;

use crate::{
    hearing::{Format, Heard, Preset, Selection, VoiceTick},
    id::GuildId,
};

/// **Listener → your actor.**
impl Message for Heard {
    type Result = ();
}

/// **Listener → your actor.**
impl Message for VoiceTick {
    type Result = ();
}

/// **Your bot → VoiceManager.** Hear the others in the calls of this guild: the one that is there, and those to come, until
/// [`StopListening`], or until nobody takes what is heard. Answered at once with the number by which to stop.
///
/// While anyone listens the bot is not deaf, whatever [`Join::flags`](super::Join::flags) says, and Discord sends it what is said. Several
/// may listen, each with a preset of its own. Of a listener that does not keep up the oldest frames are dropped, and counted.
#[derive(Clone, Debug, Message)]
#[rtype(result = "ListenId")]
#[non_exhaustive]
pub struct Listen {
    /// The guild.
    pub guild: GuildId,
    /// What is needed most.
    pub preset: Preset,
    /// As what frames come.
    pub format: Format,
    /// Who is heard.
    pub selection: Selection,
    /// Who is told.
    pub to: Ears,
}

/// Where goes what is heard.
#[derive(Clone)]
#[non_exhaustive]
pub enum Ears {
    /// Each frame to an actor: in order, and of one listener several at a time. At most 2,048 wait.
    Frames(Recipient<Heard>),
    /// All speakers of 20 ms to an actor. At most 256 ticks wait.
    Ticks(Recipient<VoiceTick>),
    /// Each frame to a channel, for programs without actors. What does not fit is dropped, the newest first.
    FrameChannel(mpsc::Sender<Heard>),
    /// All speakers of 20 ms to a channel. What does not fit is dropped, the newest first.
    TickChannel(mpsc::Sender<VoiceTick>),
}

impl Listen {
    /// Hands each frame of the guild's calls to an actor, as Opus.
    #[must_use]
    pub fn frames(guild: GuildId, preset: Preset, to: Recipient<Heard>) -> Self {
        Self::new(guild, preset, Ears::Frames(to))
    }

    /// Hands an actor all speakers of each 20 ms at once, as samples at 48 kHz, stereo, for people to hear: [`Preset::Live`].
    #[must_use]
    pub fn ticks(guild: GuildId, to: Recipient<VoiceTick>) -> Self {
        Self::new(guild, Preset::Live, Ears::Ticks(to)).format(Format::Stereo)
    }

    /// [`Self::frames`] for programs without actors.
    #[must_use]
    pub fn frame_channel(guild: GuildId, preset: Preset, to: mpsc::Sender<Heard>) -> Self {
        Self::new(guild, preset, Ears::FrameChannel(to))
    }

    /// [`Self::ticks`] for programs without actors.
    #[must_use]
    pub fn tick_channel(guild: GuildId, to: mpsc::Sender<VoiceTick>) -> Self {
        Self::new(guild, Preset::Live, Ears::TickChannel(to)).format(Format::Stereo)
    }

    fn new(guild: GuildId, preset: Preset, to: Ears) -> Self {
        Self { guild, preset, format: Format::Opus, selection: Selection::all(), to }
    }

    /// As what frames come.
    #[must_use]
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// What is needed most.
    #[must_use]
    pub fn preset(self, preset: Preset) -> Self {
        Self { preset, ..self }
    }

    /// Who is heard: everyone unless said otherwise.
    #[must_use]
    pub fn selection(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }
}

impl fmt::Debug for Ears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frames(_) => "Frames",
            Self::Ticks(_) => "Ticks",
            Self::FrameChannel(_) => "FrameChannel",
            Self::TickChannel(_) => "TickChannel",
        })
    }
}

/// The number of a [`Listen`], unlike that of any other of its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenId(pub u64);

/// **Your bot → VoiceManager.** Hear no more. What waits is dropped.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopListening(pub ListenId);
