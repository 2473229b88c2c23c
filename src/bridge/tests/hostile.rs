//! Whatever happens to a guild, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Fact {
    Join(u8),
    Rejoin,
    MainSessionReplaced,
    Leave,
    State(u8),
    Server(u8),
    Later(u32),
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        (1..4u8).prop_map(Fact::Join),
        Just(Fact::Rejoin),
        Just(Fact::MainSessionReplaced),
        Just(Fact::Leave),
        (0..4u8).prop_map(Fact::State),
        (0..3u8).prop_map(Fact::Server),
        (0..70_000u32).prop_map(Fact::Later),
    ]
}

fn channel(number: u8) -> Option<ChannelId> {
    [None, Some(LOUNGE), Some(STAGE), Some(CELLAR)][usize::from(number)]
}

impl Story {
    fn happen(&mut self, fact: Fact, tokens: &mut u32) -> Vec<Action> {
        match fact {
            Fact::Join(number) => self.join(channel(number).unwrap_or(LOUNGE)),
            Fact::Rejoin => self.rejoin(),
            Fact::MainSessionReplaced => self.main_session_replaced(),
            Fact::Leave => self.leave(),
            Fact::State(number) => self.hear(&state(channel(number))),
            Fact::Server(0) => self.told_null(),
            Fact::Server(_) => {
                *tokens += 1;
                self.told(&tokens.to_string())
            }
            Fact::Later(millis) => {
                let until = self.now + Duration::from_millis(millis.into());
                let mut actions = Vec::new();
                while let Some(deadline) = self.voice.deadline().filter(|&deadline| deadline <= until) {
                    self.now = deadline;
                    actions.extend(self.actions());
                }
                self.now = until;
                actions
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_no_token_is_used_twice_and_every_wait_ends(
        facts in prop::collection::vec(fact(), 0..60)
    ) {
        let mut story = Story::begin();
        let (mut tokens, mut used, mut wanted) = (0, 0, false);
        for fact in facts {
            wanted = match fact {
                Fact::Join(_) => true,
                Fact::Leave => false,
                _ => wanted,
            };
            for action in story.happen(fact, &mut tokens) {
                match action {
                    Action::Credentials(credentials) => {
                        let token: u32 = credentials.token.0.parse().unwrap();
                        prop_assert!(token > used, "token {token} after {used}");
                        prop_assert!(wanted, "credentials for a channel nobody wants");
                        used = token;
                    }
                    Action::Kicked => wanted = false,
                    Action::UpdateVoiceState(UpdateVoiceState { channel: Some(_), .. }) => {
                        prop_assert!(wanted, "joined though nobody wants it");
                    }
                    _ => {}
                }
            }
        }
        // With nothing more from Discord, every wait comes to its end.
        story.happen(Fact::Later(200_000), &mut tokens);
        prop_assert_eq!(story.voice.deadline(), None);
    }
}
