//! `actix-voice loopback`: Discord on this machine, in the foreground.

use std::net::{IpAddr, SocketAddr};

use actix_voice::id::Token;
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    bot::parse_token,
    exit::Failure,
    interrupt::interrupted,
    report::print_json,
    stage::{Keep, Plan, Stage},
    usage,
};

/// Run Discord on this machine, to point bots at, until Ctrl-C.
///
/// It has a main gateway, a voice gateway, a media relay and end-to-end encryption, a bot account, and guilds with a
/// voice channel and a listener in it each. The first line of stdout is a JSON object that says where and as whom to
/// connect; stderr says the same in words.
#[derive(Debug, Args)]
pub struct Loopback {
    /// Where the main gateway listens, an address with or without a port; the others take free ports of the address
    #[arg(long, value_name = "ADDR", value_parser = parse_listen, default_value = "127.0.0.1")]
    listen: SocketAddr,
    /// How many guilds there are
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2500))]
    guilds: u32,
    /// The token of the bot account, instead of a random one
    #[arg(long, value_name = "T", value_parser = parse_token)]
    token: Option<Token>,
    /// Only count what the bot sends, and keep none of it
    #[arg(long)]
    count_only: bool,
    /// End when standard input does
    #[arg(long, hide = true)]
    until_end_of_input: bool,
}

/// The first line of stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// Where the main gateway is.
    pub gateway: String,
    /// What the bot identifies with.
    pub token: String,
    /// The bot's user.
    pub user: String,
    /// The first guild.
    pub guild: String,
    /// Its voice channel.
    pub channel: String,
    /// How many guilds there are.
    pub guilds: u32,
}

impl Loopback {
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn run(self) -> Result<(), Failure> {
        let mut stop = interrupted()?;
        usage::allow_many_files();
        let keep = if self.count_only { Keep::Counts } else { Keep::Audio };
        let stage = Stage::raise(Plan { listen: self.listen, guilds: self.guilds, token: self.token, keep })?;
        let invitation = stage.invitation();
        print_json(&invitation);
        explain(&invitation);
        tokio::select! {
            () = &mut stop => {}
            () = end_of_input(), if self.until_end_of_input => {}
        }
        Ok(())
    }
}

fn explain(Invitation { gateway, token, guild, channel, guilds, .. }: &Invitation) {
    eprintln!("Discord is at {gateway}, with {guilds} guilds; Ctrl-C ends it.");
    eprintln!("Point a bot at it: as its main gateway, with the token {token}.");
    eprintln!("Or play a file:\n");
    eprintln!(
        "  actix-voice play --gateway {gateway} --token {token} --guild {guild} --channel {channel} FILE"
    );
}

/// A thread of its own reads, since a runtime would wait at its end for a read that does not.
async fn end_of_input() {
    let (ending, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ending = ending;
        // An error is an end too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    });
    let _ = ended.await;
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    alone
        .or_else(|_| text.parse())
        .map_err(|_| "an address is 127.0.0.1, 127.0.0.1:8080 or [::1]:8080".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        let parsed = |text| parse_listen(text).map(|address| address.to_string());
        assert_eq!(parsed("127.0.0.1"), Ok("127.0.0.1:0".into()));
        assert_eq!(parsed("127.0.0.1:8080"), Ok("127.0.0.1:8080".into()));
        assert_eq!(parsed("::1"), Ok("[::1]:0".into()));
        assert_eq!(parsed("[::1]:8080"), Ok("[::1]:8080".into()));
        assert!(parsed("localhost").is_err());
    }
}
