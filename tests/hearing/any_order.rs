//! Whatever comes, in whatever order.

use proptest::prelude::*;

use super::facts::facts;

proptest! {
    #[test]
    fn nothing_that_comes_in_any_order_is_told_twice_or_makes_more_sound_than_there_is_time_for(
        input in prop::collection::vec(any::<u8>(), 0..3_000),
    ) {
        facts(&input);
    }
}
