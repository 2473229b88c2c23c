//! What a listener is told and reports, and what a bot asks for that wants to hear.

use std::fmt;

use actix::{ArbiterHandle, Message, Recipient};
use tokio::sync::mpsc;

use crate::{
    call::Cause,
    hearing::{Format, Heard, ListenId, Preset, Selection, Shape, SpeakerStats, Talk, VoiceTick},
    id::{GuildId, UserId},
};

/// **Listener → your actor.**
impl Message for Heard {
    type Result = ();
}

/// **Listener → your actor.**
impl Message for VoiceTick {
    type Result = ();
}

/// **Your bot → VoiceManager → Call → Listener.** Hear the others in the calls of this guild: the one that is there, and those to come, until
/// [`StopListening`], or until nobody takes what is heard. Answered at once with the number by which to stop.
///
/// While anyone listens the bot is not deaf, whatever [`Join::flags`](crate::actors::Join::flags) says, and Discord sends it what is said. Several
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

impl Ears {
    /// Whether each frame is told by itself, or all of a tick.
    pub(super) fn shape(&self) -> Shape {
        match self {
            Self::Frames(_) | Self::FrameChannel(_) => Shape::Frames,
            Self::Ticks(_) | Self::TickChannel(_) => Shape::Ticks,
        }
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

/// **Your bot → VoiceManager → Call → Listener.** Hear no more. What waits for an actor is still brought to it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopListening(pub ListenId);

/// **VoiceManager → Call → Listener.** One more who listens.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct AddListener {
    pub(in crate::actors) id: ListenId,
    pub(in crate::actors) listen: Listen,
    /// Where it is to run; with none, where the call does.
    pub(in crate::actors) arbiter: Option<ArbiterHandle>,
}

/// **Call → Listener.** This user has left.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct SpeakerLeft(pub(in crate::actors) UserId);

/// **Call → Listener.** Say what became of the packets of each speaker.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "HeardStats")]
pub(in crate::actors) struct GetHeardStats;

/// **Call → Listener.** Tell what waits, and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Stop;

/// What became of what was heard.
#[derive(Clone, Debug, Default)]
pub(in crate::actors) struct HeardStats {
    pub(in crate::actors) speakers: Vec<SpeakerStats>,
    /// Packets that a hearing arbiter was too busy for.
    pub(in crate::actors) overflowed: u64,
    /// Frames and ticks that listeners did not take in time.
    pub(in crate::actors) undelivered: u64,
}

/// **Listener → Call.** What the listener with this number says.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct FromListener {
    pub(in crate::actors) generation: u64,
    pub(in crate::actors) report: Report,
}

#[derive(Clone, Debug)]
pub(in crate::actors) enum Report {
    /// Somebody began or ceased to speak.
    Talk(Talk),
    /// Nobody takes any more what this one asked for.
    Gone(ListenId),
    /// The listener is no more; `cause` is none when it was asked to stop.
    Exited { cause: Option<Cause>, stats: HeardStats },
}
