//! Numbers in sentences.

/// Says how many: `1 guild`, `2 guilds`.
pub fn count(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Says how many were: `1 frame was`, `2 frames were`.
pub fn were(number: u64, what: &str) -> String {
    format!("{} {}", count(number, what), if number == 1 { "was" } else { "were" })
}

/// Says how often.
pub fn times(count: u64) -> String {
    match count {
        0 => "never".into(),
        1 => "once".into(),
        count => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([count(0, "guild"), count(1, "guild")], ["0 guilds", "1 guild"]);
        assert_eq!([were(1, "frame"), were(2, "frame")], ["1 frame was", "2 frames were"]);
    }
}
