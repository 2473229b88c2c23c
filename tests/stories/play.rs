//! A bot joins, plays a file and leaves; the listener hears it whole, whatever happens to the connection.

use std::time::Duration;

use actix_voice::{actors::CallEventKind, call::ConnectionStatus, speaker::TrackEnd};

use crate::support::{bot::BotOnDiscord, story};

#[test]
fn a_cut_in_the_middle_is_not_heard() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.join().await;
        let track = bot.play("demo.opus").await;
        bot.next_event("the track starts", |event| matches!(event, CallEventKind::TrackStarted(_))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        bot.discord.close_voice(bot.account.user_id, 4015, "");
        bot.next_status(ConnectionStatus::Resumed).await;
        assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
        let stats = bot.disconnect().await;

        let heard = bot.heard();
        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        assert_eq!(heard.longest_gap, Duration::from_millis(20));
        bot.assert_no_violations();
    });
}
