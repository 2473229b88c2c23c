//! Stories of what is passed on.

use super::*;
use crate::bridge::events::{VoiceServer, VoiceState};
use crate::gateway::session::ChannelKind;

#[test]
fn voice_events_are_passed_on() {
    let mut story = Story::ready();
    let state = dispatched(story.hear(
        r#"{"op":0,"s":2,"t":"VOICE_STATE_UPDATE","d":{"guild_id":"111","channel_id":"222","user_id":"900","session_id":"5f0c"}}"#,
    ));
    let Dispatch::VoiceStateUpdate(VoiceState { guild: Some(GuildId(111)), channel, user, .. }) = state
    else {
        panic!("{state:?}")
    };
    assert_eq!((channel, user), (Some(ChannelId(222)), UserId(900)));
    let server = dispatched(story.hear(
        r#"{"op":0,"s":3,"t":"VOICE_SERVER_UPDATE","d":{"token":"hush","guild_id":"111","endpoint":null}}"#,
    ));
    let expected = VoiceServer { guild: GuildId(111), token: Token("hush".into()), endpoint: None };
    assert_eq!(server, Dispatch::VoiceServerUpdate(expected));
}

#[test]
fn a_guild_tells_its_voice_channels_and_who_is_in_them() {
    let mut story = Story::ready();
    let guild = dispatched(story.hear(
        r#"{"op":0,"s":2,"t":"GUILD_CREATE","d":{"id":"111","name":"g","channels":[
            {"id":"1","type":0,"name":"text"},{"id":"2","type":2,"bitrate":96000},{"id":"3","type":13,"bitrate":null}],
            "voice_states":[{"channel_id":"2","user_id":"901","session_id":"s","mute":false}]}}"#,
    ));
    let Dispatch::GuildAvailable { guild, voice_channels, voice_states } = guild else { panic!("{guild:?}") };
    assert_eq!(guild, GuildId(111));
    let [voice, stage] = [(2, ChannelKind::Voice, Some(96_000)), (3, ChannelKind::Stage, None)]
        .map(|(id, kind, bitrate)| VoiceChannel { id: ChannelId(id), kind, bitrate });
    assert_eq!(voice_channels, [voice, stage]);
    assert_eq!((voice_states[0].guild, voice_states[0].user), (Some(GuildId(111)), UserId(901)));
    let outage = story.hear(r#"{"op":0,"s":3,"t":"GUILD_DELETE","d":{"id":"111","unavailable":true}}"#);
    assert_eq!(dispatched(outage), Dispatch::GuildUnavailable(GuildId(111)));
    for left in [r#"{"id":"111"}"#, r#"{"id":"111","unavailable":false}"#] {
        let left = story.hear(&format!(r#"{{"op":0,"s":4,"t":"GUILD_DELETE","d":{left}}}"#));
        assert_eq!(dispatched(left), Dispatch::GuildDeleted(GuildId(111)));
    }
}

#[test]
fn voice_channels_are_passed_on() {
    let mut story = Story::ready();
    let channel = |event, kind| {
        format!(
            r#"{{"op":0,"s":2,"t":"{event}","d":{{"id":"2","guild_id":"111","type":{kind},"bitrate":64000}}}}"#
        )
    };
    let passed_on = |kind| Dispatch::VoiceChannel {
        guild: GuildId(111),
        channel: VoiceChannel { id: ChannelId(2), kind, bitrate: Some(64_000) },
    };
    assert_eq!(dispatched(story.hear(&channel("CHANNEL_UPDATE", 2))), passed_on(ChannelKind::Voice));
    assert_eq!(dispatched(story.hear(&channel("CHANNEL_CREATE", 13))), passed_on(ChannelKind::Stage));
    assert_eq!(story.hear(&channel("CHANNEL_UPDATE", 0)), []);
}
