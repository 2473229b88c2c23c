//! A token: what lets somebody in, and is never printed.

use std::fmt;

/// A bot's token, or that of a voice session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Token;
    use crate::server::UserRecord;

    #[test]
    fn a_record_with_a_token_does_not_print_it() {
        let record = UserRecord { name: "parrot".to_owned(), token: Some(Token("squawk".to_owned())) };
        assert_eq!(format!("{record:?}"), r#"UserRecord { name: "parrot", token: Some(***) }"#);
    }
}
