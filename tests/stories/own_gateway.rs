//! A bot with a main gateway connection of its own: it forwards three things, late and in any order.

use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Recipient};
use actix_voice::{
    actors::{
        CallEventKind, MainGateway, Plug, Subscribe, UpdateVoiceState, VoiceManager, VoiceServerUpdate,
        VoiceStateUpdate,
        main_gateway::{Dispatch, MainGatewayEvent},
    },
    call::ConnectionStatus,
    id::{ChannelId, Token},
    speaker::TrackEnd,
};
use actix_voice_loopback::{Discord, Event};

use crate::support::{
    bot::Stage,
    log::{answers, identifies, op},
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
            MainGatewayEvent::Dispatch(Dispatch::Ready { user, .. }) => {
                let gateway = self.gateway.take().expect("one session");
                self.manager.do_send(Plug::new(user, gateway));
            }
            MainGatewayEvent::Dispatch(Dispatch::VoiceStateUpdate(state)) => {
                ctx.run_later(self.lag.state, |bot, _| bot.manager.do_send(VoiceStateUpdate(state)));
            }
            MainGatewayEvent::Dispatch(Dispatch::VoiceServerUpdate(server)) => {
                ctx.run_later(self.lag.server, |bot, _| bot.manager.do_send(VoiceServerUpdate(server)));
            }
            _ => {}
        }
    }
}

impl OwnBot {
    /// Logs in with a token of the stage's bot; its manager replaces the stage's.
    async fn set(lag: Lag) -> Stage {
        let mut stage = Stage::set().await;
        let bot = stage.discord.bot("own bot");
        // Our MainGateway plays somebody else's: it talks to a manager that nobody uses.
        let nobody = VoiceManager::new(stage.config.clone()).start();
        let manager = VoiceManager::new(stage.config.clone()).start();
        let to = stage.events.listener().recipient();
        manager.send(Subscribe::new(to)).await.unwrap();
        let (url, token) = (stage.discord.gateway_url(), Token(bot.token.clone()));
        let gateway = MainGateway::create(|ctx| {
            let bot = OwnBot { manager: manager.clone(), lag, gateway: Some(ctx.address().recipient()) };
            MainGateway::at(&url, token, &stage.config, nobody).listener(bot.start().recipient())
        });
        let online = |discord: &Discord| answers_ready(discord, bot.user_id);
        stage.discord.until(online, Duration::from_secs(5)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        (stage.bot, stage.manager, stage.gateway) = (bot, manager, gateway);
        stage
    }
}

fn answers_ready(discord: &Discord, user: u64) -> bool {
    let ready = |name: &Option<String>| name.as_deref() == Some("READY");
    discord.log().iter().any(
        |entry| matches!(&entry.event, Event::Sent { name, .. } if ready(name) && entry.user == Some(user)),
    )
}

async fn play_to_the_end(stage: &Stage) {
    let track = stage.play("music.opus").await;
    assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
    stage.leave().await;
    assert_eq!(missed("music.opus", [&stage.heard()]), 0);
    assert_eq!(identifies(&stage.discord), 1);
    stage.no_violations();
}

#[test]
fn the_two_events_may_come_apart() {
    story(async {
        for lag in LAGS {
            let stage = OwnBot::set(lag).await;
            stage.join().await;
            play_to_the_end(&stage).await;
        }
    });
}

#[test]
fn a_move_of_which_the_events_come_apart_keeps_the_track_playing() {
    story(async {
        for lag in LAGS {
            for since_joining in [Duration::from_millis(700), Duration::from_secs(3)] {
                let stage = OwnBot::set(lag).await;
                let second = stage.guild.channel("second");
                let second_ear = second.listener("second ear");
                stage.join().await;
                let track = stage.play("music.opus").await;
                tokio::time::sleep(since_joining).await;
                stage.discord.move_to(stage.bot.user_id, &second);
                stage.what("the move", |what| *what == CallEventKind::Moved(ChannelId(second.id))).await;
                stage
                    .what("Connected", |what| *what == CallEventKind::Connection(ConnectionStatus::Connected))
                    .await;
                assert_eq!(stage.end_of(track).await, TrackEnd::Finished);
                stage.leave().await;
                let rest = second_ear.heard(stage.bot.user_id).expect("it is heard there");
                assert!(missed("music.opus", [&stage.heard(), &rest]) <= 3);
                assert_eq!(answers(&stage.discord, op::READY), identifies(&stage.discord), "{lag:?}");
                stage.no_violations();
            }
        }
    });
}
