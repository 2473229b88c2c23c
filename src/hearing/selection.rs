//! Selection: whom a listener wants to hear.

use std::collections::BTreeSet;

use crate::id::UserId;

/// Whom a listener wants to hear. Of who is refused nothing is decoded, kept or told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; none means all.
    allowed: Option<BTreeSet<UserId>>,
    denied: BTreeSet<UserId>,
    priority: Vec<UserId>,
}

impl Selection {
    /// Everyone.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only these users, and nobody else.
    #[must_use]
    pub fn only(users: impl IntoIterator<Item = UserId>) -> Self {
        Self { allowed: Some(users.into_iter().collect()), ..Self::default() }
    }

    /// None of these users, even where they are allowed.
    #[must_use]
    pub fn deny(mut self, users: impl IntoIterator<Item = UserId>) -> Self {
        self.denied.extend(users);
        self
    }

    /// While one of these users speaks, only the first of them who does is heard.
    #[must_use]
    pub fn priority(mut self, users: impl IntoIterator<Item = UserId>) -> Self {
        self.priority.extend(users);
        self
    }

    /// Whether this user may be heard.
    #[must_use]
    pub fn accepts(&self, user: UserId) -> bool {
        !self.denied.contains(&user) && self.allowed.as_ref().is_none_or(|allowed| allowed.contains(&user))
    }

    /// Of those who speak, the one who alone is heard; none if all are.
    #[must_use]
    pub fn first_of(&self, speaks: impl Fn(UserId) -> bool) -> Option<UserId> {
        self.priority.iter().copied().find(|user| self.accepts(*user) && speaks(*user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: [UserId; 3] = [UserId(1), UserId(2), UserId(3)];

    fn accepted(selection: &Selection) -> Vec<UserId> {
        USERS.into_iter().filter(|user| selection.accepts(*user)).collect()
    }

    #[test]
    fn who_is_denied_is_not_heard_even_where_allowed() {
        assert_eq!(accepted(&Selection::all()), USERS);
        assert_eq!(accepted(&Selection::all().deny([UserId(2)])), [UserId(1), UserId(3)]);
        assert_eq!(accepted(&Selection::only([UserId(2), UserId(3)]).deny([UserId(3)])), [UserId(2)]);
        assert_eq!(accepted(&Selection::only([])), []);
    }

    #[test]
    fn of_those_who_speak_the_first_with_priority_is_heard_alone() {
        let selection = Selection::all().deny([UserId(3)]).priority([UserId(3), UserId(2), UserId(1)]);
        assert_eq!(selection.first_of(|_| true), Some(UserId(2)));
        assert_eq!(selection.first_of(|user| user == UserId(1)), Some(UserId(1)));
        assert_eq!(selection.first_of(|user| user == UserId(3)), None);
    }
}
