//! Whatever happens to a call, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Fact {
    Credentials,
    Opened,
    Settled,
    Resumed,
    Offered,
    Lost(Cause),
    TransportLost,
    SpeakerLost,
    EndpointLost,
    Moved,
    MainSessionReplaced,
    JoinFailed(JoinFailure),
    Kicked,
    GuildDeleted,
    Leave,
    Silent,
    Later(u64),
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        4 => (4000..4025u16).prop_map(closed),
        1 => any::<u16>().prop_map(closed),
        1 => Just(lost()),
        1 => Just(Cause::Zombie),
        1 => Just(Cause::Panicked("Gateway")),
        1 => Just(Cause::Handshake(SessionError::Timeout { awaited: "Ready" })),
    ]
}

fn fact() -> impl Strategy<Value = Fact> {
    let failure = prop_oneof![Just(JoinFailure::NoAnswer), Just(JoinFailure::NoEndpoint)];
    prop_oneof![
        6 => Just(Fact::Credentials),
        6 => Just(Fact::Opened),
        6 => Just(Fact::Settled),
        3 => Just(Fact::Resumed),
        1 => Just(Fact::Offered),
        8 => cause().prop_map(Fact::Lost),
        1 => Just(Fact::TransportLost),
        1 => Just(Fact::SpeakerLost),
        1 => Just(Fact::EndpointLost),
        1 => Just(Fact::Moved),
        1 => Just(Fact::MainSessionReplaced),
        2 => failure.prop_map(Fact::JoinFailed),
        8 => (0..30_000u64).prop_map(Fact::Later),
        2 => (0..200u64).prop_map(Fact::Later),
    ]
}

/// Facts that end a call come seldom, or nothing else would be seen.
fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let last =
        prop_oneof![Just(Fact::Kicked), Just(Fact::GuildDeleted), Just(Fact::Leave), Just(Fact::Silent)];
    (prop::collection::vec(fact(), 0..80), prop::collection::vec(prop_oneof![fact(), last], 0..20))
        .prop_map(|(first, then)| [first, then].concat())
}

/// Watches a call's orders for what must never happen.
#[derive(Default)]
struct Watch {
    rejoins: Vec<Instant>,
    ended: Option<EndReason>,
    session: Option<Credentials>,
    tokens: Vec<Token>,
}

impl Watch {
    fn see(&mut self, action: &Action, now: Instant) {
        assert_eq!(self.ended, None, "{action:?} after the end");
        match action {
            Action::Rejoin => {
                self.rejoins.push(now);
                let recent = self.rejoins.iter().filter(|&&at| now - at < Duration::from_secs(60)).count();
                assert!(recent <= 5, "{recent} rejoins within a minute");
            }
            Action::Identify(credentials) => {
                assert!(!self.tokens.contains(&credentials.token), "a token is good for one session");
                self.tokens.push(credentials.token.clone());
                self.session = Some(credentials.clone());
            }
            Action::Resume(credentials) => {
                let session = self.session.as_ref().expect("a session that may be resumed");
                assert_eq!(session.token, credentials.token);
            }
            Action::Close => self.session = None,
            Action::End(reason) => self.ended = Some(reason.clone()),
            _ => {}
        }
    }
}

impl Story {
    fn happen(&mut self, fact: &Fact, watch: &mut Watch) {
        match fact.clone() {
            Fact::Credentials => {
                self.token += 1;
                self.call.credentials(credentials(self.token));
            }
            Fact::Opened => self.call.opened(self.now),
            Fact::Settled => self.call.settled(),
            Fact::Resumed => self.call.resumed(),
            Fact::Offered => self.call.mode_chosen(GCM.to_owned()),
            Fact::Lost(cause) => {
                if let Cause::Closed(CloseCode(4004..=4012 | 4014 | 4016..=4022)) = cause {
                    watch.session = None;
                }
                self.call.gateway_lost(cause, self.now);
            }
            Fact::TransportLost => self.call.transport_lost(Cause::Transport("gone".into()), self.now),
            Fact::SpeakerLost => self.call.speaker_lost(self.now),
            Fact::EndpointLost => self.call.endpoint_lost(self.now),
            Fact::Moved => self.call.moved(STAGE),
            Fact::MainSessionReplaced => self.call.main_session_replaced(self.now),
            Fact::JoinFailed(failure) => self.call.join_failed(failure, self.now),
            Fact::Kicked => self.call.kicked(),
            Fact::GuildDeleted => self.call.guild_deleted(),
            Fact::Leave => self.call.disconnect(EndReason::Left, self.now),
            Fact::Silent => self.call.speech_ended(),
            Fact::Later(millis) => return self.pass(Duration::from_millis(millis), watch),
        }
        self.watch(watch);
    }

    fn pass(&mut self, time: Duration, watch: &mut Watch) {
        let until = self.now + time;
        while let Some(deadline) = self.call.deadline().filter(|&deadline| deadline <= until) {
            self.now = deadline;
            self.watch(watch);
        }
        self.now = until;
    }

    fn watch(&mut self, watch: &mut Watch) {
        let now = self.now;
        for action in self.actions() {
            watch.see(&action, now);
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_call_ends_or_settles(facts in facts()) {
        let (mut story, mut watch) = (Story::begin(), Watch::default());
        for fact in &facts {
            // Between two attempts there is no websocket to lose.
            let waits = matches!(story.call.state.connection(), Some(Connection::Backoff { .. }));
            if !(waits && matches!(fact, Fact::Lost(_))) {
                story.happen(fact, &mut watch);
            }
        }
        // The longest: an op 4 that is queued in vain, and then every try that gets no answer.
        story.pass(Duration::from_secs(1_200), &mut watch);
        prop_assert_eq!(story.call.deadline(), None);
        prop_assert_eq!(watch.ended.is_some(), story.call.is_ended());
    }

    #[test]
    fn no_sequence_of_closes_keeps_a_call_busy_for_ever(
        causes in prop::collection::vec((cause(), 0..14_000u64, any::<bool>()), 40)
    ) {
        let (mut story, mut watch) = (Story::begin(), Watch::default());
        story.happen(&Fact::Credentials, &mut watch);
        let mut sessions = 0;
        for (cause, after, established) in causes {
            if watch.ended.is_some() {
                break;
            }
            // The world does its best: it brings credentials whenever it is asked, and sometimes a session.
            if established {
                story.happen(&Fact::Opened, &mut watch);
                story.happen(&Fact::Settled, &mut watch);
                story.happen(&Fact::Resumed, &mut watch);
            }
            story.happen(&Fact::Later(after), &mut watch);
            story.happen(&Fact::Lost(cause), &mut watch);
            // Long enough for every pause of a call that has not given up yet.
            let rejoins = watch.rejoins.len();
            while let Some(deadline) = story.call.deadline() {
                story.now = deadline;
                story.watch(&mut watch);
            }
            if watch.rejoins.len() > rejoins {
                sessions += 1;
                story.happen(&Fact::Credentials, &mut watch);
            }
        }
        prop_assert!(watch.ended.is_some(), "{sessions} more sessions and no end");
    }
}
