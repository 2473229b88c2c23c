//! Closing: a gateway that always closes, with whatever code, at whatever moment, makes no loop.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, JoinError},
    call::EndReason,
    gateway::close::CloseCode,
};
use actix_voice_loopback::{Discord, HandshakeStep, Side};

use crate::{
    close_codes::{Fate, TABLE},
    support::{
        bot::BotOnDiscord,
        log::{connections, identifies},
        story,
    },
};

/// Closes every connection at this moment, with every code.
fn close_always(step: HandshakeStep) {
    story(async {
        for (code, [_, fate, _]) in TABLE {
            let bot = BotOnDiscord::start().await;
            (0..100).for_each(|_| bot.discord.close_voice_at(step, code));
            let joined = tokio::time::timeout(TWO_MINUTES, bot.request_join(&bot.channel)).await;
            let joined = joined.unwrap_or_else(|_| panic!("{code} at {step:?}: Join was not answered"));
            tokio::time::sleep(TWO_MINUTES).await;
            let inside = bot.discord.connected_to(&bot.channel).contains(&bot.account.user_id);
            let ended = end_reason(&bot);
            assert_eq!(inside, ended.is_none(), "{code} at {step:?}: in the call or told why not");
            let tried = connections(&bot.discord, Side::Voice);
            match (&joined, fate) {
                (Err(error), _) => assert_eq!(Some(error), ended.clone().map(JoinError::Ended).as_ref()),
                (Ok(_), Fate::Ends) => assert_eq!(ended, Some(EndReason::Refused(CloseCode(code)))),
                (Ok(_), _) => {}
            }
            assert_eq!(tried, allowed_connections(code, fate), "{code} at {step:?}: connections");
            // Whatever became of it, that is all.
            tokio::time::sleep(TWO_MINUTES).await;
            assert_eq!(connections(&bot.discord, Side::Voice), tried, "{code} at {step:?}");
            bot.assert_no_violations();
        }
    });
}

/// After how many connections that are closed with this code a call is over.
fn allowed_connections(code: u16, fate: Fate) -> usize {
    match (code, fate) {
        (_, Fate::Ends) => 1,
        // Our own mistakes are made a second time, not a third.
        (4001..=4005 | 4016 | 4020, _) => 2,
        _ => 5,
    }
}

fn end_reason(bot: &BotOnDiscord) -> Option<EndReason> {
    bot.events.call_events().into_iter().find_map(|event| match event {
        CallEventKind::Ended(reason) => Some(reason),
        _ => None,
    })
}

macro_rules! closes {
    ($($name:ident: $step:ident;)*) => {$(
        #[test]
        fn $name() {
            close_always(HandshakeStep::$step);
        }
    )*};
}

closes! {
    a_close_whenever_a_websocket_opens: Connect;
    a_close_after_every_hello: Hello;
    a_close_after_every_identify: Identify;
    a_close_after_every_ready: Ready;
    a_close_after_every_select_protocol: SelectProtocol;
    a_close_after_every_description: Described;
    a_close_after_every_speaking: Established;
}

#[test]
fn a_session_that_is_closed_after_every_resume_is_given_up() {
    story(async {
        for (code, [_, fate, _]) in TABLE {
            let bot = BotOnDiscord::start().await;
            bot.join().await;
            (0..100).for_each(|_| bot.discord.close_voice_at(HandshakeStep::Resumed, code));
            bot.discord.close_voice(bot.account.user_id, 4015, "");
            tokio::time::sleep(TWO_MINUTES).await;
            let inside = bot.discord.connected_to(&bot.channel).contains(&bot.account.user_id);
            let ended = end_reason(&bot);
            assert_eq!(inside, ended.is_none(), "{code}: in the call or told why not");
            let tried = connections(&bot.discord, Side::Voice);
            let expected = match fate {
                Fate::Resumes => 5,
                Fate::Rejoins => 3,
                Fate::Ends => 2,
            };
            assert_eq!(tried, expected, "{code}: connections");
            assert_eq!(inside, fate == Fate::Rejoins, "{code}");
            tokio::time::sleep(TWO_MINUTES).await;
            assert_eq!(connections(&bot.discord, Side::Voice), tried, "{code}");
            bot.assert_no_violations();
        }
    });
}

#[test]
fn a_mode_that_is_refused_is_not_chosen_again() {
    story(async {
        let bot = BotOnDiscord::start().await;
        bot.discord.close_voice_at(HandshakeStep::SelectProtocol, 4016);
        bot.join().await;
        let stats = bot.disconnect().await;
        assert_eq!(stats.transport.mode.as_deref(), Some("aead_xchacha20_poly1305_rtpsize"));

        let bot = BotOnDiscord::start_on(Discord::builder().modes(["aead_aes256_gcm_rtpsize"])).await;
        bot.discord.close_voice_at(HandshakeStep::SelectProtocol, 4016);
        let error = bot.request_join(&bot.channel).await.expect_err("no other mode is left");
        assert!(error.to_string().contains("aead_aes256_gcm_rtpsize"), "{error}");
        assert_eq!(identifies(&bot.discord), 2);
    });
}

const TWO_MINUTES: Duration = Duration::from_secs(120);
