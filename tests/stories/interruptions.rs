//! Interruptions: a move, a kick, another voice server, none for a while, a lost main session and an outage, each at every
//! moment from the first op 4 to the end of a resume. The join is answered, and Discord and the call agree where the bot is.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, JoinError, Speak, SpeakError},
    call::EndReason,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{Channel, Discord, Event, EventDelivery, Member, Side};
use tokio::time::sleep;

use crate::support::{
    audio::path,
    bot::BotOnDiscord,
    log::{connections, identifies, op, received, resumes, sent_count},
    story,
};

/// What happens to the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    /// A moderator moves it to another channel.
    Move,
    /// A moderator disconnects it.
    Kick,
    /// The guild gets another voice server.
    AnotherServer,
    /// The guild has no voice server for a while.
    NoServer,
    /// Discord forgets the main session.
    LostMainSession,
    /// The guild has an outage for a while.
    Outage,
}

/// How far the bot has come when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Asked,
    Named,
    Opened,
    Identified,
    Ready,
    Discovered,
    ProtocolSelected,
    Described,
    Speaking,
    Playing,
    ResumeOpened,
    ResumeAsked,
    Resumed,
}

impl Moment {
    const ALL: [Self; 13] = [
        Self::Asked,
        Self::Named,
        Self::Opened,
        Self::Identified,
        Self::Ready,
        Self::Discovered,
        Self::ProtocolSelected,
        Self::Described,
        Self::Speaking,
        Self::Playing,
        Self::ResumeOpened,
        Self::ResumeAsked,
        Self::Resumed,
    ];

    fn is_of_a_resume(self) -> bool {
        matches!(self, Self::ResumeOpened | Self::ResumeAsked | Self::Resumed)
    }

    /// Whether the bot has come this far.
    fn has_come(self, discord: &Discord, listener: &Member, user: u64) -> bool {
        match self {
            Self::Asked => !received(discord, Side::Main, op::UPDATE_VOICE_STATE).is_empty(),
            Self::Named => has_named_a_server(discord),
            Self::Opened => connections(discord, Side::Voice) > 0,
            Self::Identified => identifies(discord) > 0,
            Self::Ready => sent_count(discord, op::READY) > 0,
            Self::Discovered => discord.log().iter().any(|entry| matches!(entry.event, Event::Discovered)),
            Self::ProtocolSelected => !received(discord, Side::Voice, op::SELECT_PROTOCOL).is_empty(),
            Self::Described => sent_count(discord, op::DESCRIPTION) > 0,
            Self::Speaking => !received(discord, Side::Voice, op::SPEAKING).is_empty(),
            Self::Playing => listener.packets_heard(user) > 50,
            Self::ResumeOpened => connections(discord, Side::Voice) > 1,
            Self::ResumeAsked => resumes(discord) > 0,
            Self::Resumed => sent_count(discord, op::RESUMED) > 0,
        }
    }
}

fn has_named_a_server(discord: &Discord) -> bool {
    discord.log().iter().any(|entry| match &entry.event {
        Event::Sent { name: Some(name), .. } => name == "VOICE_SERVER_UPDATE",
        _ => false,
    })
}

/// Where the bot is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    InFirst,
    InSecond,
    /// In no channel; the call has ended.
    Out,
}

/// One story: what happens, when, and how long events of the main gateway take.
#[derive(Clone, Copy, Debug)]
struct Scene {
    interruption: Interruption,
    moment: Moment,
    latency: Duration,
}

impl Scene {
    async fn play(self) {
        let bot = BotOnDiscord::start().await;
        let second = bot.guild.channel("second");
        let second_listener = second.listener("second ear");
        bot.discord
            .main_latency(self.latency..self.latency + Duration::from_millis(1), EventDelivery::InOrder);
        let (joined, track) = {
            let both = join_and_speak(&bot);
            let interrupting = self.interrupt(&bot, &second);
            let (both, ()) = tokio::join!(both, interrupting);
            both
        };
        self.assert_answered(&joined, &track);
        if let Ok(track) = track {
            let end = if self.outcome() == Outcome::Out { TrackEnd::Stopped } else { TrackEnd::Finished };
            assert_eq!(bot.track_end(track).await, end, "{self:?}");
        }
        sleep(Duration::from_secs(30)).await;
        match self.outcome() {
            Outcome::Out => self.assert_out(&bot, &second),
            Outcome::InSecond => self.assert_in(&bot, &second, &second_listener).await,
            Outcome::InFirst => self.assert_in(&bot, &bot.channel, &bot.listener).await,
        }
        let asked = received(&bot.discord, Side::Main, op::UPDATE_VOICE_STATE).len();
        assert!(asked <= MOST_ASKED, "{self:?}: {asked} times op 4");
        let identifies = identifies(&bot.discord);
        assert!(identifies <= MOST_IDENTIFIES, "{self:?}: {identifies} identifies");
        assert_eq!(bot.discord.violations(), [], "{self:?}");
    }

    /// Where the bot is in the end.
    fn outcome(self) -> Outcome {
        match self.interruption {
            Interruption::Kick => Outcome::Out,
            Interruption::Move => Outcome::InSecond,
            _ => Outcome::InFirst,
        }
    }

    /// Lets it happen once the bot has come this far.
    async fn interrupt(self, bot: &BotOnDiscord, second: &Channel) {
        let user = bot.account.user_id;
        if self.moment.is_of_a_resume() {
            self.until(bot, Moment::Playing).await;
            bot.discord.close_voice(user, 4015, "");
        }
        self.until(bot, self.moment).await;
        match self.interruption {
            Interruption::Move => bot.discord.move_to(user, second),
            Interruption::Kick => bot.discord.kick(user, &bot.guild),
            Interruption::AnotherServer => bot.discord.change_region(&bot.guild),
            Interruption::NoServer => {
                bot.discord.take_endpoint(&bot.guild);
                sleep(A_WHILE).await;
                bot.discord.give_endpoint(&bot.guild);
            }
            Interruption::LostMainSession => bot.discord.lose_main_session(user),
            Interruption::Outage => {
                bot.discord.make_guild_unavailable(&bot.guild);
                sleep(A_WHILE).await;
                bot.discord.restore_guild(&bot.guild);
            }
        }
    }

    async fn until(self, bot: &BotOnDiscord, moment: Moment) {
        let come = |discord: &Discord| moment.has_come(discord, &bot.listener, bot.account.user_id);
        let limit = Duration::from_secs(20);
        if let Err(error) = bot.discord.until(come, limit).await {
            panic!("{self:?}: {error}");
        }
    }

    /// A kick may come first; nothing else takes the channel from the bot.
    fn assert_answered(self, joined: &Result<(), JoinError>, track: &Result<TrackId, SpeakError>) {
        let kicked = Err(JoinError::Ended(EndReason::Kicked));
        let may_fail = self.interruption == Interruption::Kick;
        assert!(joined.is_ok() || may_fail && *joined == kicked, "{self:?}: {joined:?}");
        assert!(track.is_ok() || may_fail, "{self:?}: {track:?}");
    }

    fn assert_out(self, bot: &BotOnDiscord, second: &Channel) {
        let ended = bot
            .events
            .call_events()
            .into_iter()
            .any(|event| event == CallEventKind::Ended(EndReason::Kicked));
        assert!(ended, "{self:?}: the end is told");
        for channel in [&bot.channel, second] {
            assert!(!bot.discord.members_of(channel).contains(&bot.account.user_id), "{self:?}");
        }
    }

    /// The bot is in this channel, and can be heard in it.
    async fn assert_in(self, bot: &BotOnDiscord, channel: &Channel, listener: &Member) {
        let user = bot.account.user_id;
        assert!(bot.discord.connected_to(channel).contains(&user), "{self:?}");
        let before = listener.packets_heard(user);
        let track = bot.play("music.opus").await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished, "{self:?}");
        sleep(Duration::from_millis(200)).await;
        let heard = listener.packets_heard(user) - before;
        assert!(heard >= FRAMES, "{self:?}: {heard} packets");
        assert!(
            !bot.events.call_events().iter().any(|event| matches!(event, CallEventKind::Ended(_))),
            "{self:?}"
        );
    }
}

/// Joins and plays a track in the same moment; both are answered within two minutes.
async fn join_and_speak(bot: &BotOnDiscord) -> (Result<(), JoinError>, Result<TrackId, SpeakError>) {
    let joining = bot.request_join(&bot.channel);
    let speaking = async { bot.manager.send(Speak::file(bot.guild_id(), path("music.opus"))).await };
    let both = async { tokio::join!(joining, speaking) };
    let (joined, track) =
        tokio::time::timeout(Duration::from_secs(120), both).await.expect("both are answered");
    (joined.map(drop), track.expect("the manager lives").map(TrackId::from))
}

fn at_every_moment(interruption: Interruption) {
    for moment in Moment::ALL {
        for latency in [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(2)] {
            story(Scene { interruption, moment, latency }.play());
        }
    }
}

macro_rules! interruptions {
    ($($name:ident: $interruption:ident;)*) => {$(
        #[test]
        fn $name() {
            at_every_moment(Interruption::$interruption);
        }
    )*};
}

interruptions! {
    a_move_at_every_moment_leads_to_the_other_channel: Move;
    a_kick_at_every_moment_ends_the_call: Kick;
    another_voice_server_at_every_moment_is_followed: AnotherServer;
    a_voice_server_that_is_gone_at_any_moment_is_waited_for: NoServer;
    a_main_session_that_is_lost_at_any_moment_is_replaced: LostMainSession;
    an_outage_at_every_moment_is_waited_for: Outage;
}

/// How long an outage lasts: longer than voice plays on in it.
const A_WHILE: Duration = Duration::from_secs(8);
/// Of `music.opus`, about.
const FRAMES: u64 = 240;
/// Op 4 and Identify in all: where answers take longer than the pause before a rejoin, some are sent in vain.
const MOST_ASKED: usize = 8;
const MOST_IDENTIFIES: usize = 4;
