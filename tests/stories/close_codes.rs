//! Close codes: every code once at every stage of a voice session. The join is answered, the bot is where the call says, and
//! where the call lives all of the track is heard.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, JoinError, Speak, SpeakError},
    call::EndReason,
    gateway::close::CloseCode,
    speaker::{TrackEnd, TrackId},
};
use actix_voice_loopback::{HandshakeStep, MediaRule, Rule, Side, Violation};

use crate::support::{
    audio::path,
    bot::BotOnDiscord,
    log::{identifies, op, resumes},
    recording::missed,
    story,
};

/// What becomes of a call whose voice gateway closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The session is resumed.
    Resumes,
    /// Another session is made.
    Rejoins,
    /// The call ends with this code for its reason.
    Ends,
}
use Fate::{Ends, Rejoins, Resumes};

/// Code, and what becomes of a session that is being made, of one that is established, and of one that is being resumed.
pub const TABLE: [(u16, [Fate; 3]); 21] = [
    (1000, [Rejoins, Resumes, Rejoins]),
    (1001, [Rejoins, Resumes, Resumes]),
    (1006, [Rejoins, Resumes, Resumes]),
    (4001, [Rejoins, Rejoins, Rejoins]),
    (4002, [Rejoins, Rejoins, Rejoins]),
    (4003, [Rejoins, Rejoins, Rejoins]),
    (4004, [Rejoins, Rejoins, Rejoins]),
    (4005, [Rejoins, Rejoins, Rejoins]),
    (4006, [Rejoins, Rejoins, Rejoins]),
    (4009, [Rejoins, Rejoins, Rejoins]),
    (4011, [Rejoins, Rejoins, Rejoins]),
    (4012, [Ends, Ends, Ends]),
    (4013, [Rejoins, Resumes, Rejoins]),
    (4014, [Rejoins, Rejoins, Rejoins]),
    (4015, [Rejoins, Resumes, Rejoins]),
    (4016, [Rejoins, Rejoins, Rejoins]),
    (4017, [Ends, Ends, Ends]),
    (4020, [Rejoins, Rejoins, Rejoins]),
    (4021, [Ends, Ends, Ends]),
    (4022, [Rejoins, Rejoins, Rejoins]),
    (4999, [Rejoins, Rejoins, Rejoins]),
];

/// Where the close comes.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// At this step of the first session.
    Joining(HandshakeStep),
    /// A second into the track.
    Live,
    /// At this step of a resume.
    Resuming(HandshakeStep),
}

/// One close: where it comes, its code and what is to become of the call.
#[derive(Clone, Copy, Debug)]
struct Close {
    stage: Stage,
    code: u16,
    fate: Fate,
}

impl Close {
    fn reason(self) -> EndReason {
        EndReason::Refused(CloseCode(self.code))
    }

    /// Joins and speaks at once, and closes where it is to be. An accepted track is named.
    async fn play(self, bot: &BotOnDiscord) -> Option<TrackId> {
        let (joined, track) = match self.stage {
            Stage::Joining(step) => {
                bot.discord.close_voice_at(step, self.code);
                join_and_speak(bot).await
            }
            Stage::Live | Stage::Resuming(_) => {
                let both = join_and_speak(bot).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                let now = match self.stage {
                    Stage::Resuming(step) => {
                        bot.discord.close_voice_at(step, self.code);
                        4015
                    }
                    _ => self.code,
                };
                bot.discord.close_voice(bot.account.user_id, now, "");
                both
            }
        };
        if let Err(error) = joined {
            assert_eq!((error, self.fate), (JoinError::Ended(self.reason()), Ends), "{self:?}");
        }
        match track {
            Ok(track) => Some(track),
            Err(error) => {
                assert_eq!((error, self.fate), (SpeakError::NotJoined(bot.guild_id()), Ends), "{self:?}");
                None
            }
        }
    }

    /// The call lives on in its channel, and all of the track is heard there.
    async fn assert_goes_on(self, bot: &BotOnDiscord, track: TrackId) {
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished, "{self:?}");
        assert!(bot.discord.connected_to(&bot.channel).contains(&bot.account.user_id), "{self:?}");
        let stats = bot.disconnect().await;
        let missed = missed("music.opus", [&bot.heard()]);
        match self.fate {
            Resumes => assert_eq!((stats.reconnects, missed), (0, 0), "{self:?}"),
            _ => assert!(missed <= 3, "{self:?}: missed {missed}"),
        }
    }

    /// The call is over, says why, and leaves nothing behind.
    async fn assert_ends(self, bot: &BotOnDiscord, track: Option<TrackId>) {
        if let Some(track) = track {
            assert_eq!(bot.track_end(track).await, TrackEnd::Stopped, "{self:?}");
        }
        bot.next_event("the end", |event| *event == CallEventKind::Ended(self.reason())).await;
        bot.until_left(Duration::from_secs(1)).await;
    }

    /// A session that is replaced while its websocket is away is left in mid-word: the track goes on in the next. One that
    /// ends says so, whatever is away.
    fn assert_violations(self, bot: &BotOnDiscord) {
        let away = matches!(self.stage, Stage::Resuming(step) if step != HandshakeStep::Resumed);
        let mid_word = |violation: &Violation| {
            matches!(violation.rule, Rule::Media(MediaRule::SilenceMissing { .. }))
                && self.fate == Rejoins
                && away
        };
        let violations = bot.discord.violations();
        assert!(violations.iter().all(mid_word) && violations.len() <= 1, "{self:?}: {violations:?}");
    }

    /// Discord was asked for no more than it takes.
    fn assert_bounded(self, bot: &BotOnDiscord) {
        let here = Some(bot.channel.id);
        let asked = match self.fate {
            Resumes => vec![here, None],
            Rejoins => vec![here, None, here, None],
            Ends => vec![here, None],
        };
        assert_eq!(channels_asked_for(bot), asked, "{self:?}: op 4");
        let resumed = match self.stage {
            Stage::Joining(_) => 0,
            Stage::Live => usize::from(self.fate == Resumes),
            Stage::Resuming(_) => 2,
        };
        let (identifies, resumes) = (identifies(&bot.discord), resumes(&bot.discord));
        assert!(identifies <= if self.fate == Rejoins { 2 } else { 1 }, "{self:?}: {identifies} identifies");
        assert!(resumes <= resumed, "{self:?}: {resumes} resumes");
    }
}

/// Joins and plays a track in the same moment; both are answered within half a minute.
async fn join_and_speak(bot: &BotOnDiscord) -> (Result<(), JoinError>, Result<TrackId, SpeakError>) {
    let joining = bot.request_join(&bot.channel);
    let speaking = async { bot.manager.send(Speak::file(bot.guild_id(), path("music.opus"))).await };
    let both = async { tokio::join!(joining, speaking) };
    let (joined, track) = tokio::time::timeout(HALF_A_MINUTE, both).await.expect("both are answered");
    (joined.map(drop), track.expect("the manager lives").map(TrackId::from))
}

/// The channels that the bot asked the main gateway for, in order.
fn channels_asked_for(bot: &BotOnDiscord) -> Vec<Option<u64>> {
    let asked = bot.discord.received(Side::Main, bot.account.user_id, op::UPDATE_VOICE_STATE);
    asked.iter().map(|d| d["channel_id"].as_str().and_then(|channel| channel.parse().ok())).collect()
}

/// Plays every code at this stage.
fn every_code_at(stage: Stage) {
    story(async {
        for (code, [new, live, resuming]) in TABLE {
            let fate = match stage {
                Stage::Joining(_) => new,
                // Resumed was sent: the session is established again.
                Stage::Live | Stage::Resuming(HandshakeStep::Resumed) => live,
                Stage::Resuming(_) => resuming,
            };
            let close = Close { stage, code, fate };
            let bot = BotOnDiscord::start().await;
            let track = close.play(&bot).await;
            match fate {
                Ends => close.assert_ends(&bot, track).await,
                _ => close.assert_goes_on(&bot, track.expect("it plays")).await,
            }
            tokio::time::sleep(HALF_A_MINUTE).await;
            assert_eq!(bot.discord.members_of(&bot.channel), [bot.listener.user_id], "{close:?}");
            close.assert_bounded(&bot);
            close.assert_violations(&bot);
        }
    });
}

macro_rules! stages {
    ($($name:ident: $stage:expr;)*) => {$(
        #[test]
        fn $name() {
            every_code_at($stage);
        }
    )*};
}

stages! {
    a_close_when_the_websocket_opens: Stage::Joining(HandshakeStep::Connect);
    a_close_after_hello: Stage::Joining(HandshakeStep::Hello);
    a_close_after_identify: Stage::Joining(HandshakeStep::Identify);
    a_close_after_ready: Stage::Joining(HandshakeStep::Ready);
    a_close_after_select_protocol: Stage::Joining(HandshakeStep::SelectProtocol);
    a_close_after_the_description: Stage::Joining(HandshakeStep::Described);
    a_close_after_the_first_speaking: Stage::Joining(HandshakeStep::Established);
    a_close_of_an_established_session: Stage::Live;
    a_close_when_the_websocket_of_a_resume_opens: Stage::Resuming(HandshakeStep::Connect);
    a_close_after_the_hello_of_a_resume: Stage::Resuming(HandshakeStep::Hello);
    a_close_after_resume: Stage::Resuming(HandshakeStep::Identify);
    a_close_after_resumed: Stage::Resuming(HandshakeStep::Resumed);
}

const HALF_A_MINUTE: Duration = Duration::from_secs(30);
