//! Stories of calls that break, and of how each ends or lives on.

mod closing;
mod ending;
mod hostile;

use super::*;
use crate::{
    gateway::{
        close::CloseCode,
        session::{ChannelKind, SessionError},
    },
    id::{GuildId, SessionId, Token, UserId},
};

const LOUNGE: ChannelId = ChannelId(222);
const STAGE: ChannelId = ChannelId(333);
const GCM: &str = "aead_aes256_gcm_rtpsize";
const XCHACHA: &str = "aead_xchacha20_poly1305_rtpsize";
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn start() -> Instant {
    Instant::now()
}

fn modes() -> Vec<String> {
    vec![GCM.to_owned(), XCHACHA.to_owned()]
}

fn credentials_timeout() -> Duration {
    Supervision::default().credentials_timeout
}

fn credentials(token: u32) -> Credentials {
    Credentials {
        guild: GuildId(111),
        channel: LOUNGE,
        channel_kind: ChannelKind::Voice,
        user: UserId(900),
        session_id: SessionId("s1".into()),
        token: Token(token.to_string()),
        endpoint: "c-ewr12.discord.media:2096".into(),
    }
}

fn closed(code: u16) -> Cause {
    Cause::Closed(CloseCode(code))
}

fn lost() -> Cause {
    Cause::Lost("reset".into())
}

fn reconnecting(cause: Cause) -> Action {
    Action::Report(ConnectionStatus::Reconnecting(cause))
}

fn resuming(cause: Cause) -> Action {
    Action::Report(ConnectionStatus::Resuming(cause))
}

/// What a call does that takes its leave of Discord as well.
fn gives_up(reason: EndReason) -> Vec<Action> {
    vec![Action::Leave, Action::Close, Action::End(reason)]
}

fn ends(reason: EndReason) -> Vec<Action> {
    vec![Action::Close, Action::End(reason)]
}

/// A call, and the moment it lives in.
struct Story {
    call: Recovery,
    now: Instant,
    token: u32,
}

impl Story {
    fn begin() -> Self {
        Self::with_jitter(0.0)
    }

    fn with_jitter(jitter: f32) -> Self {
        let now = start();
        let mut call = Recovery::new(Supervision::default(), modes(), jitter, now);
        assert_eq!(call.poll(now), Some(Action::StartSpeaker));
        call.requested(now);
        Self { call, now, token: 0 }
    }

    fn connecting() -> Self {
        let mut story = Self::begin();
        assert_eq!(story.credentials(), [Action::Identify(credentials(1))]);
        story
    }

    fn live() -> Self {
        let mut story = Self::connecting();
        assert_eq!(story.established(), [Action::Report(ConnectionStatus::Connected)]);
        assert!(story.call.is_live());
        story
    }

    /// A call in each state it can wait in, and the state's name.
    fn everywhere() -> Vec<(&'static str, Self)> {
        let after = |facts: &[fn(&mut Self)]| {
            let mut story = Self::live();
            facts.iter().for_each(|fact| fact(&mut story));
            story
        };
        let lose: fn(&mut Self) = |story| drop(story.gateway_lost(lost()));
        vec![
            ("joining", Self::begin()),
            ("connecting", Self::connecting()),
            ("awaiting the group", after(&[|story| _ = story.credentials(), |story| _ = story.opened()])),
            ("live", Self::live()),
            ("resuming", after(&[lose])),
            ("pausing to resume", after(&[lose, lose])),
            ("pausing to rejoin", after(&[|story| drop(story.gateway_lost(closed(4006)))])),
            ("rejoining", after(&[|story| _ = story.rejoins(closed(4006))])),
            ("awaiting a move", after(&[|story| drop(story.gateway_lost(closed(4014)))])),
            ("awaiting an endpoint", after(&[|story| drop(story.endpoint_lost())])),
        ]
    }

    fn actions(&mut self) -> Vec<Action> {
        let actions: Vec<Action> = std::iter::from_fn(|| self.call.poll(self.now)).collect();
        if actions.contains(&Action::Rejoin) {
            self.call.requested(self.now);
        }
        let deadline = self.call.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "a deadline that is past is never met");
        actions
    }

    fn credentials(&mut self) -> Vec<Action> {
        self.token += 1;
        self.call.credentials(credentials(self.token));
        self.actions()
    }

    fn credentials_for(&mut self, channel: ChannelId) -> Vec<Action> {
        self.token += 1;
        self.call.credentials(Credentials { channel, ..credentials(self.token) });
        self.actions()
    }

    fn moved(&mut self, channel: ChannelId) -> Vec<Action> {
        self.call.moved(channel);
        self.actions()
    }

    /// The new session has its key, and the group is formed.
    fn established(&mut self) -> Vec<Action> {
        assert_eq!(self.opened(), []);
        self.settled()
    }

    fn opened(&mut self) -> Vec<Action> {
        self.call.opened(self.now);
        self.actions()
    }

    fn settled(&mut self) -> Vec<Action> {
        self.call.settled();
        self.actions()
    }

    fn resumed(&mut self) -> Vec<Action> {
        self.call.resumed();
        self.actions()
    }

    fn gateway_lost(&mut self, cause: Cause) -> Vec<Action> {
        let silent = cause == Cause::Zombie;
        self.call.gateway_lost(cause, self.now);
        let mut actions = self.actions();
        if silent {
            assert_eq!(actions.remove(0), Action::DoubtMainGateway, "the main gateway may be dead, too");
        }
        actions
    }

    fn transport_lost(&mut self) -> Vec<Action> {
        self.call.transport_lost(Cause::Transport("no answer".into()), self.now);
        self.actions()
    }

    fn speaker_lost(&mut self) -> Vec<Action> {
        self.call.speaker_lost(self.now);
        self.actions()
    }

    fn endpoint_lost(&mut self) -> Vec<Action> {
        self.call.endpoint_lost(self.now);
        self.actions()
    }

    fn kicked(&mut self) -> Vec<Action> {
        self.call.kicked();
        self.actions()
    }

    fn join_failed(&mut self, failure: JoinFailure) -> Vec<Action> {
        self.call.join_failed(failure, self.now);
        self.actions()
    }

    fn leave(&mut self) -> Vec<Action> {
        self.call.disconnect(EndReason::Left, self.now);
        self.actions()
    }

    /// What happens at the next deadline, and after how long.
    fn wait(&mut self) -> (Duration, Vec<Action>) {
        let deadline = self.call.deadline().expect("something to wait for");
        let waited = deadline - self.now;
        self.now = deadline - Duration::from_nanos(1);
        assert_eq!(self.actions(), [], "too early");
        self.now = deadline;
        (waited, self.actions())
    }

    /// Loses the gateway; the call joins anew after a pause, which is returned.
    fn rejoins(&mut self, cause: Cause) -> Duration {
        assert_eq!(self.gateway_lost(cause.clone()), [Action::Close, reconnecting(cause)]);
        assert!(!self.call.is_live());
        let (pause, actions) = self.wait();
        assert_eq!(actions, [Action::Rejoin]);
        assert_eq!(
            self.call.deadline(),
            Some(self.now + credentials_timeout()),
            "the bridge answers before that"
        );
        pause
    }

    /// The call ends for this reason once the bot has ended its speech, and half a second later at the latest.
    fn gives_up_after_speech(&mut self, reason: EndReason) {
        assert_eq!(self.wait(), (500 * MILLI, gives_up(reason)));
    }

    /// Fresh credentials lead to another session.
    fn lives_on(&mut self) {
        let actions = self.credentials();
        assert_eq!(actions, [Action::Identify(credentials(self.token))]);
        assert_eq!(self.established(), [Action::Report(ConnectionStatus::Connected)]);
    }
}

#[test]
fn a_call_connects_with_its_first_credentials() {
    let story = Story::live();
    assert_eq!(story.call.channel(), Some(LOUNGE));
    assert_eq!(story.call.deadline(), None);
}

#[test]
fn a_call_is_live_once_transport_and_encryption_are_ready_in_either_order() {
    let mut story = Story::connecting();
    assert_eq!(story.opened(), []);
    assert!(!story.call.is_live(), "what is said now is heard by nobody");
    assert_eq!(story.settled(), [Action::Report(ConnectionStatus::Connected)]);

    let mut story = Story::connecting();
    assert_eq!(story.settled(), []);
    assert!(!story.call.is_live());
    assert_eq!(story.opened(), [Action::Report(ConnectionStatus::Connected)]);
    assert_eq!((story.opened(), story.settled()), (vec![], vec![]), "later keys are nothing new");
}

#[test]
fn a_group_that_does_not_form_is_waited_for_five_seconds() {
    let mut story = Story::connecting();
    story.opened();
    assert_eq!(story.wait(), (5 * SECOND, vec![Action::Report(ConnectionStatus::Connected)]));
    assert!(story.call.is_live());
    assert_eq!(story.settled(), []);
}

#[test]
fn a_first_join_that_fails_ends_the_call_and_tidies_up() {
    for failure in
        [JoinFailure::NoAnswer, JoinFailure::NoServer, JoinFailure::NoState, JoinFailure::NoEndpoint]
    {
        assert_eq!(Story::begin().join_failed(failure), gives_up(EndReason::NotJoined(failure)));
    }
}

#[test]
fn a_bridge_that_says_nothing_at_all_is_not_waited_for_for_ever() {
    let reason = EndReason::NotJoined(JoinFailure::NoAnswer);
    assert_eq!(Story::begin().wait(), (credentials_timeout(), gives_up(reason)));

    let mut story = Story::live();
    story.rejoins(closed(4006));
    let failed = Cause::Join(JoinFailure::NoAnswer);
    assert_eq!(story.wait(), (credentials_timeout(), vec![Action::Close, reconnecting(failed)]));
    assert_eq!(story.wait(), (SECOND, vec![Action::Rejoin]));
}

#[test]
fn while_the_main_gateway_is_away_only_a_first_join_is_not_waited_for() {
    let mut story = Story::begin();
    story.call.main_gateway_lost(story.now);
    assert_eq!(story.wait(), (credentials_timeout(), gives_up(EndReason::NotJoined(JoinFailure::NoGateway))));

    let mut story = Story::live();
    story.rejoins(closed(4006));
    story.call.main_gateway_lost(story.now);
    assert_eq!(story.call.deadline(), None);
    story.now += 3_600 * SECOND;
    story.call.main_gateway_restored(story.now);
    assert_eq!(story.actions(), []);
    assert_eq!(story.call.deadline(), Some(story.now + Supervision::default().queue_timeout));
    story.call.requested(story.now);
    assert_eq!(story.call.deadline(), Some(story.now + credentials_timeout()));
    story.lives_on();
}

#[test]
fn a_later_join_that_fails_is_tried_again() {
    let mut story = Story::live();
    story.rejoins(closed(4006));
    let failed = Cause::Join(JoinFailure::NoAnswer);
    assert_eq!(story.join_failed(JoinFailure::NoAnswer), [Action::Close, reconnecting(failed)]);
    assert_eq!(story.wait(), (SECOND, vec![Action::Rejoin]));
    story.lives_on();
}

#[test]
fn a_join_that_fails_again_and_again_ends_the_call_however_slowly() {
    let mut story = Story::live();
    story.endpoint_lost();
    for _ in 0..4 {
        story.now += 60 * SECOND;
        assert!(!story.join_failed(JoinFailure::NoEndpoint).contains(&Action::Leave));
        assert_eq!(story.wait().1, [Action::Rejoin]);
    }
    story.now += 60 * SECOND;
    let last = Cause::Join(JoinFailure::NoEndpoint);
    let reason = EndReason::GaveUp { failures: 5, last };
    assert_eq!(story.join_failed(JoinFailure::NoEndpoint), gives_up(reason));
}

#[test]
fn a_lost_transport_rejoins_whatever_the_websocket_does() {
    let cause = || reconnecting(Cause::Transport("no answer".into()));
    for (name, mut story) in Story::everywhere() {
        let expected = match name {
            "connecting" | "awaiting the group" | "live" | "resuming" | "pausing to resume" => {
                vec![Action::Close, cause()]
            }
            _ => vec![],
        };
        assert_eq!(story.transport_lost(), expected, "{name}");
        if !expected.is_empty() {
            assert_eq!(story.wait().1, [Action::Rejoin], "{name}");
        }
    }
}

#[test]
fn a_lost_speaker_is_replaced_four_times_a_minute() {
    let mut story = Story::live();
    for _ in 0..4 {
        assert_eq!(story.speaker_lost(), [Action::StartSpeaker]);
        assert!(story.call.is_live());
        story.now += 10 * SECOND;
    }
    let last = Cause::Panicked("Speaker");
    assert_eq!(story.speaker_lost(), gives_up(EndReason::GaveUp { failures: 5, last }));

    let mut story = Story::live();
    for _ in 0..100 {
        assert_eq!(story.speaker_lost(), [Action::StartSpeaker], "one in twenty seconds");
        story.now += 20 * SECOND;
    }
}

#[test]
fn the_pause_doubles_from_half_a_second_to_sixteen() {
    let mut story = Story::live();
    story.gateway_lost(lost());
    for pause in [1, 2, 4, 8, 16] {
        match story.call.is_live() {
            true => story.gateway_lost(lost()),
            false => story.join_failed(JoinFailure::NoAnswer),
        };
        assert_eq!(story.wait().0, pause * SECOND);
    }
    let last = Cause::Join(JoinFailure::NoAnswer);
    let reason = EndReason::GaveUp { failures: 5, last };
    assert_eq!(story.join_failed(JoinFailure::NoAnswer), gives_up(reason));

    let mut story = Story::live();
    for pause in [500, 1000, 2000, 4000] {
        assert_eq!(story.rejoins(closed(4006)), Duration::from_millis(pause));
        story.credentials();
    }
    let actions = story.gateway_lost(closed(4006));
    assert_eq!(actions, gives_up(EndReason::GaveUp { failures: 5, last: closed(4006) }));
}

#[test]
fn jitter_lengthens_a_pause_by_up_to_a_quarter() {
    let pause = |jitter| {
        let mut story = Story::with_jitter(jitter);
        story.credentials();
        story.rejoins(closed(4006))
    };
    assert_eq!(pause(0.0), 500 * MILLI);
    assert_eq!(pause(0.5), Duration::from_micros(562_500));
    assert_eq!(pause(1.0), 625 * MILLI);
    assert_eq!(pause(7.0), 625 * MILLI);
    assert_eq!(pause(-1.0), 500 * MILLI);
}

#[test]
fn a_call_that_was_well_for_a_minute_begins_with_short_pauses_again() {
    let mut story = Story::live();
    for _ in 0..50 {
        assert_eq!(story.rejoins(closed(4006)), 500 * MILLI);
        story.lives_on();
        story.now += 61 * SECOND;
    }
}

#[test]
fn five_cuts_within_a_minute_are_too_many_though_each_was_resumed() {
    let mut story = Story::live();
    for _ in 0..4 {
        assert_eq!(story.gateway_lost(lost()), [resuming(lost()), Action::Resume(credentials(1))]);
        story.resumed();
        story.now += 10 * SECOND;
    }
    assert_eq!(story.gateway_lost(lost()), [Action::StopTracks]);
    story.gives_up_after_speech(EndReason::GaveUp { failures: 5, last: lost() });
}
