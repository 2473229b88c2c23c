//! A bot with a main gateway connection of its own: it forwards three things, late and in any order.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient, ResponseFuture};
use actix_voice::{
    actors::{
        CallEventKind, MainGateway, Plug, Shutdown, Subscribe, UpdateVoiceState, VoiceManager,
        VoiceServerUpdate, VoiceStateUpdate,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    call::ConnectionStatus,
    id::{ChannelId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Builder, Discord, Event, EventOrder};
use tokio::sync::Notify;

use crate::support::{
    bot::BotOnDiscord,
    log::{identifies, op, sent_count},
    recording::missed,
    story,
};

/// How long each kind of event takes from Discord to the manager.
#[derive(Clone, Copy, Debug)]
struct Lag {
    state: Duration,
    server: Duration,
}

const LAGS: [Lag; 2] = [
    Lag { state: Duration::ZERO, server: Duration::from_millis(300) },
    Lag { state: Duration::from_millis(300), server: Duration::ZERO },
];

/// The bot: it plugs its gateway in and forwards the two events.
struct OwnBot {
    manager: Addr<VoiceManager>,
    lag: Lag,
    gateway: Option<Recipient<UpdateVoiceState>>,
}

impl Actor for OwnBot {
    type Context = Context<Self>;
}

impl Handler<MainGatewayEvent> for OwnBot {
    type Result = ();

    fn handle(&mut self, event: MainGatewayEvent, ctx: &mut Context<Self>) {
        match event {
            MainGatewayEvent::Dispatch { dispatch: Dispatch::Ready { user, .. }, .. } => {
                let gateway = self.gateway.take().expect("one session");
                self.manager.do_send(Plug::new(user, gateway));
            }
            MainGatewayEvent::Dispatch { dispatch: Dispatch::VoiceStateUpdate(state), .. } => {
                ctx.run_later(self.lag.state, |forwarder, _| {
                    forwarder.manager.do_send(VoiceStateUpdate(state))
                });
            }
            MainGatewayEvent::Dispatch { dispatch: Dispatch::VoiceServerUpdate(server), .. } => {
                ctx.run_later(self.lag.server, |forwarder, _| {
                    forwarder.manager.do_send(VoiceServerUpdate(server))
                });
            }
            _ => {}
        }
    }
}

impl OwnBot {
    /// Logs in as another bot of the fixture's Discord; its manager replaces the fixture's.
    async fn set(lag: Lag) -> BotOnDiscord {
        Self::set_on(Discord::builder(), lag).await
    }

    async fn set_on(discord: Builder, lag: Lag) -> BotOnDiscord {
        let mut bot = BotOnDiscord::start_on(discord).await;
        let account = bot.discord.bot("own bot");
        // Our MainGateway plays somebody else's: the manager that it talks to is gone.
        let nobody = VoiceManager::new(bot.config.clone()).start();
        nobody.send(Shutdown).await.unwrap();
        let manager = VoiceManager::new(bot.config.clone()).start();
        let to = bot.events.recorder().recipient();
        manager.send(Subscribe::new(to)).await.unwrap();
        let (url, token) = (bot.discord.gateway_url(), Token(account.token.clone()));
        let gateway = MainGateway::create(|ctx| {
            let forwarder =
                OwnBot { manager: manager.clone(), lag, gateway: Some(ctx.address().recipient()) };
            MainGateway::at(&url, token, &bot.config, nobody).listener(forwarder.start().recipient())
        });
        let online = |discord: &Discord| answers_ready(discord, account.user_id);
        bot.discord.until(online, Duration::from_secs(5)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (bot.account, bot.manager, bot.gateway) = (account, manager, gateway);
        bot
    }
}

fn answers_ready(discord: &Discord, user: u64) -> bool {
    let ready = |name: &Option<String>| name.as_deref() == Some("READY");
    discord.log().iter().any(
        |entry| matches!(&entry.event, Event::Sent { name, .. } if ready(name) && entry.user == Some(user)),
    )
}

async fn play_to_the_end(bot: &BotOnDiscord) {
    let track = bot.play("music.opus").await;
    assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
    bot.disconnect().await;
    assert_eq!(missed("music.opus", [&bot.heard()]), 0);
    assert_eq!(identifies(&bot.discord), 1);
    bot.assert_no_violations();
}

#[test]
fn the_two_events_may_come_apart() {
    story(async {
        for lag in LAGS {
            let bot = OwnBot::set(lag).await;
            bot.join().await;
            play_to_the_end(&bot).await;
        }
    });
}

#[test]
fn of_two_joins_of_a_channel_that_has_no_session_yet_neither_is_answered_before_the_other() {
    story(async {
        let discord = Discord::builder().event_order(EventOrder::CloseLast);
        let bot = OwnBot::set_on(discord, LAGS[0]).await;
        let second = bot.guild.channel("second");
        bot.join().await;
        let again = async {
            let told = |event: &CallEventKind| *event == CallEventKind::Moved(ChannelId(second.id));
            bot.next_event("the move", told).await;
            bot.request_join(&second).await
        };
        let (first, again) = tokio::join!(bot.request_join(&second), again);
        first.expect("the first is answered");
        again.expect("and so is the second");
        assert!(bot.discord.connected_to(&second).contains(&bot.account.user_id), "once the call can speak");
    });
}

#[test]
fn a_move_of_which_the_events_come_apart_keeps_the_track_playing() {
    story(async {
        for lag in LAGS {
            for since_joining in [Duration::from_millis(700), Duration::from_secs(3)] {
                let bot = OwnBot::set(lag).await;
                let second = bot.guild.channel("second");
                let second_listener = second.listener("second ear");
                bot.join().await;
                let track = bot.play("music.opus").await;
                tokio::time::sleep(since_joining).await;
                bot.discord.move_to(bot.account.user_id, &second);
                bot.next_event("the move", |event| *event == CallEventKind::Moved(ChannelId(second.id)))
                    .await;
                bot.next_status(ConnectionStatus::Connected).await;
                assert_eq!(bot.track_end(track).await, TrackEnd::Finished);
                bot.disconnect_and_drain().await;
                let rest = second_listener.heard(bot.account.user_id).expect("it is heard there");
                assert!(missed("music.opus", [&bot.heard(), &rest]) <= 3);
                assert_eq!(sent_count(&bot.discord, op::READY), identifies(&bot.discord), "{lag:?}");
                bot.assert_no_violations();
            }
        }
    });
}

/// A bot that takes its time over the first event, and then notes all.
struct SlowBot {
    awake: Rc<Notify>,
    seen: Rc<RefCell<Vec<MainGatewayEvent>>>,
}

impl Actor for SlowBot {
    type Context = Context<Self>;
}

impl Handler<MainGatewayEvent> for SlowBot {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, event: MainGatewayEvent, _: &mut Context<Self>) -> Self::Result {
        let (awake, seen) = (Rc::clone(&self.awake), Rc::clone(&self.seen));
        let first = seen.borrow().is_empty();
        seen.borrow_mut().push(event);
        Box::pin(async move {
            if first {
                awake.notified().await;
            }
        })
    }
}

#[test]
fn of_a_listener_that_does_not_keep_up_the_newest_events_are_dropped_but_never_the_refusal() {
    story(async {
        let bot = BotOnDiscord::start().await;
        let (awake, seen) = (Rc::new(Notify::new()), Rc::default());
        let slow = SlowBot { awake: Rc::clone(&awake), seen: Rc::clone(&seen) }.start();
        let token = Token(bot.account.token.clone());
        let gateway = MainGateway::at(&bot.discord.gateway_url(), token, &bot.config, bot.manager.clone());
        gateway.listener(slow.recipient()).start();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rooms = [bot.guild.channel("one"), bot.guild.channel("two")];
        for room in rooms.iter().cycle().take(3_000) {
            bot.discord.move_to(bot.listener.user_id, room);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bot.discord.close_main(bot.account.user_id, 4004);
        tokio::time::sleep(Duration::from_secs(1)).await;
        awake.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = seen.borrow();
        assert_eq!(seen.len(), 1_002, "the one in hand, a thousand that waited, and the refusal");
        assert!(
            matches!(seen[0], MainGatewayEvent::Dispatch { dispatch: Dispatch::Ready { .. }, .. }),
            "the oldest are kept"
        );
        assert!(matches!(seen.last(), Some(MainGatewayEvent::Refused(_))), "{:?}", seen.last());
    });
}
