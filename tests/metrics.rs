//! What a recorder of the `metrics` crate is told of a call. Alone in its process, which has one recorder.
#![cfg(feature = "actors")]

use std::{collections::BTreeMap, time::Duration};

use actix_voice::{
    actors::{Config, Encryption, Join, Login, MainGateway, Shutdown, Speak, VoiceManager},
    id::{ChannelId, GuildId, Token},
    source::Tone,
};
use actix_voice_loopback::Discord;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

#[test]
fn a_call_tells_what_it_sent_how_late_and_how_it_ended() {
    let recorder = PrometheusBuilder::new().install_recorder().expect("there is no other");
    actix::System::new().block_on(async {
        let discord = Discord::start().await;
        let (bot, channel) = (discord.bot("bot"), discord.guild("guild").channel("channel"));
        let listener = channel.listener("ear");
        let mut config = Config::default();
        config.encryption = Encryption::None;
        let manager = VoiceManager::spawn(config.clone()).expect("a thread");
        let token = Token(bot.token.clone());
        let gateway = MainGateway::at(&discord.gateway_url(), token, &config, manager.clone()).start();
        gateway.send(Login).await.unwrap().expect("Discord lets the bot in");
        let (guild, id) = (GuildId(channel.guild_id), ChannelId(channel.id));
        let call = manager.send(Join::new(guild, id)).await.unwrap().expect("the bot joins");
        call.speak(Speak::source(guild, Tone::new(440.0))).await.expect("it speaks");
        let heard = |_: &Discord| listener.packets_heard(bot.user_id) >= 60;
        discord.until(heard, Duration::from_secs(60)).await.expect("packets arrive");
        assert_eq!(figures(&recorder)["voice_calls"], 1.0);
        discord.reset_voice(bot.user_id);
        told(&recorder, "voice_reconnects_total{kind=\"resume\",cause=\"lost\"}").await;
        told(&recorder, "voice_arbiter_load{arbiter=\"0\"}").await;
        let stats = call.disconnect().await.expect("there was a call");

        told(&recorder, "voice_call_ends_total{reason=\"left\"}").await;
        let figures = figures(&recorder);
        assert_eq!(figures["voice_packets_sent_total"], stats.packets as f64);
        assert_eq!(figures["voice_bytes_sent_total"], stats.bytes as f64);
        assert_eq!(figures["voice_lateness_seconds_count"], stats.packets as f64);
        assert!(figures["voice_e2ee_epochs_total"] >= 1.0);
        assert!(figures["voice_turn_seconds_count"] > 0.0);
        assert_eq!(figures["voice_underruns_total"], stats.speaker.underruns as f64);
        manager.send(Shutdown).await.unwrap();
    });
}

/// Waits until there is such a figure.
async fn told(recorder: &PrometheusHandle, name: &str) {
    let told = async {
        while !figures(recorder).contains_key(name) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .unwrap_or_else(|_| panic!("{name} is not told"));
}

/// Each figure under its name and labels, as Prometheus reads them.
fn figures(recorder: &PrometheusHandle) -> BTreeMap<String, f64> {
    let rendered = recorder.render();
    let lines = rendered.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.filter_map(|line| line.rsplit_once(' '));
    figures.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}
