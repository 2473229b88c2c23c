//! A bot joins, plays a file and leaves; the listener hears it whole, whatever happens to the connection.

use std::time::Duration;

use actix_voice::{actors::CallEventKind, call::ConnectionStatus, speaker::TrackEnd};

use crate::support::{bot::Stage, story};

#[test]
fn a_cut_in_the_middle_is_not_heard() {
    story(async {
        let stage = Stage::set().await;
        stage.join().await;
        let track = stage.play("demo.opus").await;
        stage.what("the track starts", |what| matches!(what, CallEventKind::TrackStarted(_))).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        stage.discord.close_voice(stage.bot.user_id, 4015, "");
        stage.what("the resume", |what| *what == CallEventKind::Connection(ConnectionStatus::Resumed)).await;
        assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
        let stats = stage.leave().await;

        let heard = stage.heard();
        assert_eq!((stats.resumes, stats.reconnects), (1, 0));
        assert_eq!((heard.packets, heard.lost), (stats.packets, 0));
        assert_eq!(heard.longest_gap, Duration::from_millis(20));
        stage.no_violations();
    });
}
