//! The tokens of VOICE_SERVER_UPDATE: each is good for one session.

use std::collections::{BTreeMap, VecDeque};

use crate::token::Token;

/// What a voice token is good for.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) guild: u64,
    pub(super) user: u64,
    pub(super) state: GrantState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantState {
    Fresh,
    /// Used up, or superseded by a newer token.
    Spent,
}

/// The owner of the grants.
#[derive(Debug, Default)]
pub(super) struct Grants {
    by_token: BTreeMap<Token, Grant>,
    /// The spent ones, oldest first; only the last few are remembered.
    spent: VecDeque<Token>,
}

impl Grants {
    /// Gives a user a token for a guild; its other tokens there are spent with this.
    pub(super) fn give(&mut self, token: Token, guild: u64, user: u64) {
        self.spend_all(guild, user);
        self.by_token.insert(token, Grant { guild, user, state: GrantState::Fresh });
    }

    pub(super) fn get(&self, token: &Token) -> Option<&Grant> {
        self.by_token.get(token)
    }

    /// Whether a user has a token for a guild from which a session can be made.
    pub(super) fn has_fresh(&self, guild: u64, user: u64) -> bool {
        !self.fresh(guild, user).is_empty()
    }

    /// Spends the tokens of a user in a guild.
    pub(super) fn spend_all(&mut self, guild: u64, user: u64) {
        for token in self.fresh(guild, user) {
            self.spend(&token);
        }
    }

    /// Spends a token. The last few are remembered, so that using them again is 4006 and not 4004.
    pub(super) fn spend(&mut self, token: &Token) {
        let Some(grant) = self.by_token.get_mut(token) else { return };
        if std::mem::replace(&mut grant.state, GrantState::Spent) == GrantState::Spent {
            return;
        }
        self.spent.push_back(token.clone());
        if self.spent.len() > SPENT_MAX
            && let Some(oldest) = self.spent.pop_front()
        {
            self.by_token.remove(&oldest);
        }
    }

    fn fresh(&self, guild: u64, user: u64) -> Vec<Token> {
        let owned = self.by_token.iter().filter(|(_, grant)| grant.guild == guild && grant.user == user);
        let fresh = owned.filter(|(_, grant)| grant.state == GrantState::Fresh);
        fresh.map(|(token, _)| token.clone()).collect()
    }
}

/// How many spent tokens are remembered.
const SPENT_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_spent_tokens_only_the_last_are_remembered() {
        let mut grants = Grants::default();
        for number in 0..SPENT_MAX + 100 {
            let token = Token(number.to_string());
            grants.give(token.clone(), 1, 2);
            grants.spend_all(1, 2);
            assert_eq!(grants.get(&token).map(|grant| grant.state), Some(GrantState::Spent));
        }
        assert_eq!((grants.by_token.len(), grants.spent.len()), (SPENT_MAX, SPENT_MAX));
    }
}
