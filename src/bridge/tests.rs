//! Stories of one guild's voice events, in every order that Discord and its moderators can think of.

mod asking;
mod hostile;
mod losing;
mod moving;

use super::{
    events::{VoiceServer, VoiceState},
    *,
};
use crate::id::Token;

const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
const GUILD: GuildId = GuildId(111);
const BOT: UserId = UserId(900);
const LOUNGE: ChannelId = ChannelId(222);
const STAGE: ChannelId = ChannelId(333);
const CELLAR: ChannelId = ChannelId(444);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn state(channel: Option<ChannelId>) -> VoiceState {
    VoiceState {
        guild: Some(GUILD),
        channel,
        user: BOT,
        session_id: SessionId("s1".into()),
        deaf: false,
        mute: false,
        self_deaf: false,
        self_mute: false,
        suppress: false,
    }
}

fn server(token: &str, endpoint: Option<&str>) -> VoiceServer {
    VoiceServer { guild: GUILD, token: Token(token.into()), endpoint: endpoint.map(str::to_owned) }
}

fn credentials(channel: ChannelId, token: &str) -> Action {
    Action::Credentials(Credentials {
        guild: GUILD,
        channel,
        channel_kind: ChannelKind::Voice,
        user: BOT,
        session_id: SessionId("s1".into()),
        token: Token(token.into()),
        endpoint: ENDPOINT.into(),
    })
}

const ENDPOINT: &str = "c-ewr12.discord.media:2096";

fn op4(channel: impl Into<Option<ChannelId>>) -> Action {
    let channel = channel.into();
    Action::UpdateVoiceState(UpdateVoiceState { guild: GUILD, channel, self_mute: false, self_deaf: true })
}

/// A guild, and the moment it lives in.
struct Story {
    voice: GuildVoice,
    now: Instant,
}

impl Story {
    fn begin() -> Self {
        Self { voice: GuildVoice::new(GUILD, BOT, JOIN_TIMEOUT), now: start() }
    }

    /// The bot was asked into the lounge, and is on its way.
    fn joining() -> Self {
        let mut story = Self::begin();
        assert_eq!(story.join(LOUNGE), [op4(LOUNGE)]);
        story
    }

    /// The bot is in the lounge.
    fn joined() -> Self {
        let mut story = Self::joining();
        assert_eq!(story.is_in(LOUNGE), []);
        assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);
        assert_eq!(story.voice.deadline(), None);
        story
    }

    fn actions(&mut self) -> Vec<Action> {
        let actions: Vec<Action> = std::iter::from_fn(|| self.voice.poll(self.now)).collect();
        if actions.iter().any(|action| matches!(action, Action::UpdateVoiceState(_))) {
            self.voice.op_4_sent(self.now);
        }
        let deadline = self.voice.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "a deadline that is past is never met");
        actions
    }

    fn join(&mut self, channel: ChannelId) -> Vec<Action> {
        self.voice.join(channel, self.now);
        self.actions()
    }

    fn leave(&mut self) -> Vec<Action> {
        self.voice.leave(self.now);
        self.actions()
    }

    fn rejoin(&mut self) -> Vec<Action> {
        self.voice.rejoin(self.now);
        self.actions()
    }

    fn main_session_replaced(&mut self) -> Vec<Action> {
        self.voice.main_session_replaced(self.now);
        self.actions()
    }

    fn hear(&mut self, event: &VoiceState) -> Vec<Action> {
        self.voice.voice_state(event, self.now);
        self.actions()
    }

    fn is_in(&mut self, channel: ChannelId) -> Vec<Action> {
        self.hear(&state(Some(channel)))
    }

    fn is_out(&mut self) -> Vec<Action> {
        self.hear(&state(None))
    }

    fn told(&mut self, token: &str) -> Vec<Action> {
        self.hear_server(&server(token, Some(ENDPOINT)))
    }

    fn told_null(&mut self) -> Vec<Action> {
        self.hear_server(&server("void", None))
    }

    fn hear_server(&mut self, event: &VoiceServer) -> Vec<Action> {
        self.voice.voice_server(event, self.now);
        self.actions()
    }

    /// What happens at the next deadline, and after how long.
    fn wait(&mut self) -> (Duration, Vec<Action>) {
        let deadline = self.voice.deadline().expect("something to wait for");
        let waited = deadline - self.now;
        self.now = deadline - Duration::from_nanos(1);
        assert_eq!(self.actions(), [], "too early");
        self.now = deadline;
        (waited, self.actions())
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_two_events_of_a_join_may_come_in_either_order() {
    let mut story = Story::joining();
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.told("t1"), [credentials(LOUNGE, "t1")]);

    let mut story = Story::joining();
    assert_eq!(story.told("t1"), []);
    assert_eq!(story.is_in(LOUNGE), [credentials(LOUNGE, "t1")]);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn the_voice_states_of_other_users_and_other_guilds_are_ignored() {
    let mut story = Story::joining();
    story.told("t1");
    for foreign in [
        VoiceState { user: UserId(901), ..state(Some(LOUNGE)) },
        VoiceState { guild: Some(GuildId(112)), ..state(Some(LOUNGE)) },
        VoiceState { guild: None, ..state(Some(LOUNGE)) },
    ] {
        assert_eq!(story.hear(&foreign), []);
    }
    assert_eq!(story.is_in(LOUNGE), [credentials(LOUNGE, "t1")]);
    for foreign in [
        VoiceState { user: UserId(901), ..state(None) },
        VoiceState { user: UserId(901), ..state(Some(STAGE)) },
        VoiceState { guild: Some(GuildId(112)), ..state(None) },
    ] {
        assert_eq!(story.hear(&foreign), []);
    }
    let elsewhere = VoiceServer { guild: GuildId(112), ..server("t2", Some(ENDPOINT)) };
    assert_eq!(story.hear_server(&elsewhere), []);
    assert_eq!(story.voice.deadline(), None, "none of it was taken for a move or a new server");
}

#[test]
fn silence_is_a_refusal_after_ten_seconds() {
    let mut story = Story::joining();
    let failed = vec![Action::Failed(JoinFailure::NoAnswer)];
    assert_eq!(story.wait(), (10 * SECOND, failed));
    assert_eq!(story.voice.deadline(), None);
    let text = JoinFailure::NoAnswer.to_string();
    for cause in ["in time", "full", "VIEW_CHANNEL", "CONNECT"] {
        assert!(text.contains(cause), "{text} does not name {cause}");
    }
}

#[test]
fn one_event_alone_names_the_other() {
    let mut story = Story::joining();
    story.is_in(LOUNGE);
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Failed(JoinFailure::NoServer)]));

    let mut story = Story::joining();
    story.told("t1");
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Failed(JoinFailure::NoState)]));
    assert!(JoinFailure::NoState.to_string().contains("GUILD_VOICE_STATES"));

    let mut story = Story::joining();
    story.told_null();
    assert_eq!(story.wait(), (10 * SECOND, vec![Action::Failed(JoinFailure::NoState)]));
}

#[test]
fn a_null_endpoint_is_waited_out_in_either_order() {
    let state_first: fn(&mut Story) = |story| drop((story.is_in(LOUNGE), story.told_null()));
    let null_first: fn(&mut Story) = |story| drop((story.told_null(), story.is_in(LOUNGE)));
    for both in [state_first, null_first] {
        let mut story = Story::joining();
        both(&mut story);
        story.now += 50 * SECOND;
        assert_eq!(story.actions(), []);
        assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")]);
    }
}

#[test]
fn an_empty_endpoint_is_a_null_endpoint_and_voids_the_one_before() {
    let mut story = Story::joining();
    story.told("t1");
    story.hear_server(&server("t2", Some("")));
    assert_eq!(story.is_in(LOUNGE), [], "the token told before is void");
    assert_eq!(story.told("t3"), [credentials(LOUNGE, "t3")]);
}

#[test]
fn a_voice_server_that_is_never_allocated_is_given_up_after_a_minute() {
    let mut story = Story::joining();
    story.is_in(LOUNGE);
    story.now += SECOND;
    story.told_null();
    story.now += 30 * SECOND;
    story.is_in(LOUNGE);
    assert_eq!(story.wait(), (30 * SECOND, vec![Action::Failed(JoinFailure::NoEndpoint)]));
}

#[test]
fn a_null_endpoint_in_mid_call_waits_for_the_next_server() {
    let mut story = Story::joined();
    assert_eq!(story.told_null(), [Action::EndpointLost]);
    story.now += 20 * SECOND;
    assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")]);
    assert_eq!(story.voice.deadline(), None);

    story.told_null();
    assert_eq!(story.wait(), (60 * SECOND, vec![Action::Failed(JoinFailure::NoEndpoint)]));
}

#[test]
fn another_voice_server_in_mid_call_brings_fresh_credentials_at_once() {
    let mut story = Story::joined();
    assert_eq!(story.told("t2"), []);
    let (waited, actions) = story.wait();
    assert_eq!(actions, [credentials(LOUNGE, "t2")]);
    assert!(waited <= SECOND / 2, "{waited:?} of silence");
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn of_two_voice_servers_the_last_counts() {
    let mut story = Story::joined();
    story.told("t2");
    story.now += SECOND / 10;
    story.told("t3");
    assert_eq!(story.wait(), (SECOND * 4 / 10, vec![credentials(LOUNGE, "t3")]));

    story.told("t4");
    assert_eq!(story.told_null(), [Action::EndpointLost]);
    assert_eq!(story.told("t5"), [credentials(LOUNGE, "t5")]);
}

#[test]
fn a_kick_is_final() {
    let mut story = Story::joined();
    assert_eq!(story.is_out(), [Action::Kicked]);
    assert_eq!(story.is_out(), []);
    assert_eq!(story.told("t2"), []);
    assert_eq!(story.rejoin(), []);
    assert_eq!(story.main_session_replaced(), []);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn a_kick_while_joining_is_final() {
    let mut story = Story::joining();
    story.is_in(LOUNGE);
    assert_eq!(story.is_out(), [Action::Kicked]);
    assert_eq!(story.told("t1"), []);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn a_kick_during_a_move_is_final() {
    let mut story = Story::joined();
    story.join(STAGE);
    assert_eq!(story.is_out(), [Action::Kicked]);
    assert_eq!(story.voice.deadline(), None);
    assert_eq!(story.join(CELLAR), [op4(CELLAR)], "until the user joins again");
}

#[test]
fn a_null_state_before_our_own_belongs_to_the_session_before() {
    let mut story = Story::joining();
    assert_eq!(story.is_out(), []);
    story.told("t1");
    assert_eq!(story.is_in(LOUNGE), [credentials(LOUNGE, "t1")]);
}

#[test]
fn rejoining_leaves_first_and_waits_for_the_null_state() {
    let mut story = Story::joined();
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.told("stale"), []);
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.rejoin(), [], "one goodbye is enough");
    assert_eq!(story.is_out(), [op4(LOUNGE)]);
    story.is_in(LOUNGE);
    assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")], "the stale token was not kept");
}

#[test]
fn rejoining_does_not_wait_for_a_null_state_for_ever() {
    let mut story = Story::joined();
    story.rejoin();
    assert_eq!(story.wait(), (SECOND, vec![op4(LOUNGE)]));
    assert_eq!(story.is_out(), [], "it came late");
    story.told("t2");
    assert_eq!(story.is_in(LOUNGE), [credentials(LOUNGE, "t2")]);
}

#[test]
fn a_stage_is_known_where_the_bot_is_told_of_it_or_is_in_the_audience() {
    let kind = |actions: Vec<Action>| match &actions[..] {
        [.., Action::Credentials(credentials)] => credentials.channel_kind,
        other => panic!("{other:?}"),
    };
    let mut story = Story::begin();
    story.voice.stages([STAGE]);
    story.join(STAGE);
    story.is_in(STAGE);
    assert_eq!(kind(story.told("t1")), ChannelKind::Stage);

    let mut story = Story::joining();
    story.hear(&VoiceState { suppress: true, ..state(Some(LOUNGE)) });
    assert_eq!(kind(story.told("t1")), ChannelKind::Stage);
}

#[test]
fn joining_elsewhere_during_a_goodbye_goes_elsewhere() {
    let mut story = Story::joined();
    story.rejoin();
    assert_eq!(story.join(STAGE), []);
    assert_eq!(story.is_out(), [op4(STAGE)]);
}

#[test]
fn a_failed_join_can_be_tried_again() {
    let mut story = Story::joining();
    story.wait();
    assert_eq!(story.is_in(LOUNGE), [], "too late");
    assert_eq!(story.told("t1"), []);
    assert_eq!(story.rejoin(), [op4(None)]);
    assert_eq!(story.wait().1, [op4(LOUNGE)]);
}

#[test]
fn a_bot_is_told_when_nobody_hears_it() {
    let audience = |suppress, mute| VoiceState { suppress, mute, ..state(Some(LOUNGE)) };
    let mut story = Story::joined();
    let suppression = |why| vec![Action::Suppression(why)];
    assert_eq!(story.hear(&audience(true, false)), suppression(Some(Suppression::Suppressed)));
    assert_eq!(story.hear(&audience(true, false)), [], "that is known");
    assert_eq!(story.hear(&audience(false, true)), suppression(Some(Suppression::Muted)));
    assert_eq!(story.hear(&audience(false, false)), suppression(None));
}

#[test]
fn a_new_session_id_goes_into_the_next_credentials() {
    let mut story = Story::joined();
    story.hear(&VoiceState { session_id: SessionId("s2".into()), ..state(Some(LOUNGE)) });
    story.told("t2");
    let (_, actions) = story.wait();
    let Action::Credentials(credentials) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(credentials.session_id, SessionId("s2".into()));
}

#[test]
fn what_comes_after_leaving_is_ignored() {
    let mut story = Story::joined();
    assert_eq!(story.leave(), [op4(None)]);
    assert_eq!(story.told("t2"), []);
    assert_eq!(story.told_null(), []);
    assert_eq!(story.is_in(STAGE), []);
    assert_eq!(story.is_out(), [], "as asked, so it is no kick");
    assert!(story.voice.is_idle());
    assert_eq!(story.rejoin(), []);
    assert_eq!(story.main_session_replaced(), []);
    assert_eq!(story.voice.deadline(), None);
}

#[test]
fn leaving_while_joining_ends_it() {
    let mut story = Story::joining();
    story.told("t1");
    assert_eq!(story.leave(), [op4(None)]);
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.wait(), (JOIN_TIMEOUT, vec![]));
    assert!(story.voice.is_idle());
}

#[test]
fn joining_right_after_leaving_is_not_confused_by_the_join_before() {
    let mut story = Story::joining();
    story.leave();
    assert_eq!(story.join(LOUNGE), []);
    assert_eq!(story.is_in(LOUNGE), []);
    assert_eq!(story.told("stale"), []);
    assert_eq!(story.is_out(), [op4(LOUNGE)]);
    story.is_in(LOUNGE);
    assert_eq!(story.told("t2"), [credentials(LOUNGE, "t2")]);
}

#[test]
fn the_bot_is_out_when_it_is_in_no_channel_and_wants_to_be_in_none() {
    let mut story = Story::begin();
    assert!(story.voice.is_out() && story.voice.is_idle());
    story.join(LOUNGE);
    assert!(!story.voice.is_out() && !story.voice.is_idle(), "it is on its way");
    story.wait();
    assert!(!story.voice.is_out() && story.voice.is_idle(), "nobody answered, and it may try again");
    story.rejoin();
    story.is_in(LOUNGE);
    story.told("t1");
    assert!(!story.voice.is_out() && !story.voice.is_idle(), "it is there");
    story.leave();
    assert!(!story.voice.is_out(), "Discord has not confirmed that it left");
    story.is_out();
    assert!(story.voice.is_out() && story.voice.is_idle());
}
