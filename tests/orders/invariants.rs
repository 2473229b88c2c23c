//! What has to be true whenever nothing has gone wrong for a while.

use std::time::Duration;

use actix_voice::{
    actors::{CallEventKind, CallHandle, JoinError},
    bridge::{ALLOCATION_TIMEOUT, JoinFailure},
    call::{ConnectionStatus, EndReason},
    gateway::close::{CloseCode, Verdict},
};
use actix_voice_loopback::{Dave, Event, MediaRule, Rule, Side};
use tokio::time::Instant;

use crate::{
    script::{Act, Script},
    world::{Asked, Record, World},
};

/// What is wrong, in words; empty if nothing is. `calm` is since when nothing is made to go wrong.
pub async fn broken(world: &World, script: &Script, calm: Instant) -> Vec<String> {
    let mut found = unanswered(world);
    found.extend(late_answers(world));
    let live = live_calls(world).await;
    found.extend(presence(world, &live));
    found.extend(last_words(world, &live));
    found.extend(unexplained_errors(world));
    found.extend(unexplained_ends(world));
    found.extend(restless(world, calm));
    found.extend(too_many_messages(world));
    found.extend(violations(world));
    found.extend(inaudible(world, script, &live).await);
    found
}

/// Every Join and Disconnect is answered.
fn unanswered(world: &World) -> Vec<String> {
    let record = world.record.borrow();
    let joins = record.joins.iter().filter(|join| join.answer.is_none());
    let joins =
        joins.map(|join| format!("guild {}: a join of channel {} is not answered", join.guild, join.channel));
    let disconnects = record.disconnects.iter().filter(|asked| asked.answer.is_none());
    joins
        .chain(disconnects.map(|asked| format!("guild {}: a disconnect is not answered", asked.guild)))
        .collect()
}

/// Answers come within what the policy allows, and at once where nothing disturbs.
fn late_answers(world: &World) -> Vec<String> {
    let record = world.record.borrow();
    let mut found = Vec::new();
    for join in &record.joins {
        let Some((at, _)) = join.answer else { continue };
        let disturbed = record.disturbed(join.guild, join.at - SETTLING, at);
        let (took, allowed) = (at - join.at, if disturbed { longest_join(world) } else { QUIET_JOIN });
        if took > allowed {
            found.push(format!("guild {}: a join took {took:?}, more than {allowed:?}", join.guild));
        }
    }
    let allowed = world.config.supervision.end_speech_timeout + SLACK;
    for asked in &record.disconnects {
        let took = asked.answer.map_or(Duration::ZERO, |(at, ())| at - asked.at);
        if took > allowed {
            found.push(format!("guild {}: a disconnect took {took:?}, more than {allowed:?}", asked.guild));
        }
    }
    found
}

/// The longest that a join may take: the main gateway may be away, and then every try may fail in the slowest way.
fn longest_join(world: &World) -> Duration {
    let policy = &world.config.supervision;
    let tries = u32::try_from(policy.failure_limit).unwrap_or(u32::MAX);
    let slowest = policy.join_timeout + ALLOCATION_TIMEOUT + HANDSHAKE + policy.longest_pause.mul_f32(1.25);
    policy.credentials_timeout + slowest * tries
}

/// The live call of each guild.
async fn live_calls(world: &World) -> Vec<Option<CallHandle>> {
    let mut live = vec![None; world.guilds.len()];
    for (guild, live) in live.iter_mut().enumerate() {
        let handles: Vec<CallHandle> = {
            let record = world.record.borrow();
            let joins = record.joins.iter().filter(|join| join.guild == guild);
            joins.filter_map(|join| join.answer.as_ref()?.1.as_ref().ok().cloned()).collect()
        };
        for handle in handles.into_iter().rev() {
            if handle.stats().await.is_some() {
                *live = Some(handle);
                break;
            }
        }
    }
    live
}

/// The bot is in one channel of each guild with a call, the one that the call tells, and nowhere else.
fn presence(world: &World, live: &[Option<CallHandle>]) -> Vec<String> {
    let mut found = Vec::new();
    for (guild, call) in live.iter().enumerate() {
        let seen = world.seen_in(guild);
        match (call, &seen[..]) {
            (None, []) => {}
            // All who joined it were told that it goes on where it is.
            (None, [channel]) if goes_on(world, guild) && told_channel(world, guild) == Some(*channel) => {}
            (None, _) => found.push(format!("guild {guild}: a ghost in channel {seen:?}")),
            (Some(_), [channel]) => {
                let connected = world.discord.connected_to(&world.guilds[guild].channels[*channel]);
                if !connected.contains(&world.bot.user_id) {
                    found.push(format!("guild {guild}: the call in channel {channel} has no voice session"));
                }
                let told = told_channel(world, guild);
                if told != Some(*channel) {
                    found.push(format!("guild {guild}: the call told {told:?} and is in channel {channel}"));
                }
            }
            (Some(_), _) => found.push(format!("guild {guild}: a call, and the bot is in {seen:?}")),
        }
    }
    found
}

/// Whether the last join of a guild was refused, and its call has connected since the last end.
fn goes_on(world: &World, guild: usize) -> bool {
    let record = world.record.borrow();
    let last = record.joins.iter().rfind(|join| join.guild == guild);
    let refused =
        matches!(last.and_then(|join| join.answer.as_ref()), Some((_, Err(JoinError::NotMoved(_)))));
    let mut of_guild = record.events.iter().filter(|(_, event)| world.number_of(event.guild) == guild);
    let last = of_guild
        .rfind(|(_, event)| matches!(event.kind, CallEventKind::Connection(_) | CallEventKind::Ended(_)));
    let connected = CallEventKind::Connection(ConnectionStatus::Connected);
    refused && last.is_some_and(|(_, event)| event.kind == connected)
}

/// Where the user must believe the call to be: where it was joined first, or moved since.
fn told_channel(world: &World, guild: usize) -> Option<usize> {
    let record = world.record.borrow();
    let of_guild = record.events.iter().filter(|(_, event)| world.number_of(event.guild) == guild);
    let events: Vec<_> = of_guild.collect();
    let end = events.iter().rposition(|(_, event)| matches!(event.kind, CallEventKind::Ended(_)));
    let of_call = &events[end.map_or(0, |end| end + 1)..];
    let moved = of_call.iter().rev().find_map(|(_, event)| match event.kind {
        CallEventKind::Moved(channel) => Some(channel),
        _ => None,
    });
    if let Some(channel) = moved {
        return world.guilds[guild].channels.iter().position(|known| known.id == channel.0);
    }
    let ended = end.map(|end| events[end].0);
    let answered = record.joins.iter().filter(|join| join.guild == guild).filter_map(|join| {
        let (at, answer) = join.answer.as_ref()?;
        answer.is_ok().then_some((Some(*at), join.channel))
    });
    let answered: Vec<_> = answered.collect();
    // The next call may have joined at the very moment at which the one before ended.
    let later = answered.iter().find(|(at, _)| *at > ended);
    later.or_else(|| answered.iter().rfind(|(at, _)| *at == ended)).map(|(_, channel)| *channel)
}

/// What the user asked for last is what is: a guild that was left has no call, and a join that was answered leads where it was
/// to, unless something else is told or a moderator moved the bot.
fn last_words(world: &World, live: &[Option<CallHandle>]) -> Vec<String> {
    let record = world.record.borrow();
    let mut found = Vec::new();
    for (guild, call) in live.iter().enumerate() {
        let join = record.joins.iter().rfind(|join| join.guild == guild);
        let left = record.disconnects.iter().rfind(|asked| asked.guild == guild).map(|asked| asked.at);
        let Some(join) = join else { continue };
        if left > Some(join.at) {
            if call.is_some() {
                found.push(format!("guild {guild}: the user left last, and there is a call"));
            }
            continue;
        }
        let Some((answered, Ok(_))) = &join.answer else { continue };
        let ended = record.events.iter().any(|(at, event)| {
            at >= answered
                && world.number_of(event.guild) == guild
                && matches!(event.kind, CallEventKind::Ended(_))
        });
        if call.is_none() && !ended {
            found.push(format!("guild {guild}: the call is gone, and nobody was told"));
        }
        let seen = world.seen_in(guild);
        let mut moves = record.acts.iter().filter(|(at, act)| {
            matches!(act, Act::Move { guild: of, .. } if *of == guild) && *at + SETTLING >= join.at
        });
        if call.is_some() && !seen.contains(&join.channel) && moves.next().is_none() {
            found.push(format!("guild {guild}: joined channel {}, and the bot is in {seen:?}", join.channel));
        }
    }
    found
}

/// Every join that failed has a reason that the script explains.
fn unexplained_errors(world: &World) -> Vec<String> {
    let record = world.record.borrow();
    let mut found = Vec::new();
    for join in &record.joins {
        let Some((at, Err(error))) = &join.answer else { continue };
        let explained = match error {
            JoinError::Ended(reason) => record.explains(reason, join.guild, *at),
            JoinError::NotMoved(JoinFailure::Superseded) => {
                let other = |other: &Asked<_>| {
                    other.guild == join.guild && other.at >= join.at && other.channel != join.channel
                };
                record.joins.iter().any(other)
            }
            JoinError::NotMoved(failure) => record.explains_failure(*failure, join.guild, *at),
            _ => false,
        };
        if !explained {
            found.push(format!("guild {}: a join failed without cause: {error:?}", join.guild));
        }
    }
    found
}

/// Every end has a reason that the script explains.
fn unexplained_ends(world: &World) -> Vec<String> {
    let record = world.record.borrow();
    let ends = record.events.iter().filter_map(|(at, event)| match &event.kind {
        CallEventKind::Ended(reason) => Some((*at, world.number_of(event.guild), reason)),
        _ => None,
    });
    let unexplained = ends.filter(|(at, guild, reason)| !record.explains(reason, *guild, *at));
    unexplained.map(|(_, guild, reason)| format!("guild {guild}: ended without cause: {reason:?}")).collect()
}

/// In the last minute of the calm nothing is asked for any more.
fn restless(world: &World, calm: Instant) -> Vec<String> {
    let since = calm + QUIET - Duration::from_secs(60);
    let asks = [
        (Side::Main, 4, "op 4"),
        (Side::Voice, 0, "Identify"),
        (Side::Voice, 7, "Resume"),
        (Side::Main, 2, "main Identify"),
    ];
    let log = world.discord.log();
    let count = |side, wanted| {
        let late = log.iter().filter(|entry| entry.at >= since && entry.side == side);
        late.filter(|entry| matches!(entry.event, Event::Received { op, .. } if op == wanted)).count()
    };
    let counted = asks.map(|(side, op, name)| (count(side, op), name));
    let restless = counted.into_iter().filter(|(count, _)| *count > 0);
    restless
        .map(|(count, name)| format!("no rest: {count} × {name} in the last minute of the calm"))
        .collect()
}

/// What the bot sends grows with what it is asked for and what goes wrong, and with nothing else.
fn too_many_messages(world: &World) -> Vec<String> {
    let record = world.record.borrow();
    let asked = record.joins.len() + record.disconnects.len();
    // A disturbance in one guild touches one call; another touches all.
    let troubles = record.acts.iter().filter(|(_, act)| act.disturbs());
    let troubles: usize = troubles.map(|(_, act)| act.guild().map_or(world.guilds.len(), |_| 1)).sum();
    let attempts = world.config.supervision.failure_limit;
    let allowed = 2 * asked + 2 * attempts * troubles + 2;
    let sent = |side, op| world.discord.received(side, world.bot.user_id, op).len();
    let counted = [("op 4", sent(Side::Main, 4)), ("Identify", sent(Side::Voice, 0))];
    let many = counted.into_iter().filter(|(_, count)| *count > allowed);
    many.map(|(name, count)| format!("{count} × {name}, {allowed} at most are explained")).collect()
}

/// No rule of Discord's is broken, but for those that a fault breaks, whatever the bot does.
fn violations(world: &World) -> Vec<String> {
    let violations = world.discord.violations();
    let record = world.record.borrow();
    let happened = |kind: fn(&Act) -> bool| record.acts.iter().any(|(_, act)| kind(act));
    let frozen = happened(|act| matches!(act, Act::FreezeVoice | Act::FreezeNetwork));
    let path_died = happened(|act| matches!(act, Act::KillMediaPath | Act::FreezeNetwork));
    let unexplained = violations.iter().filter(|violation| match violation.rule {
        // An op 4 crosses the op 9 that ends its session.
        Rule::BeforeIdentify(4) => false,
        // What announces the audio is written to a websocket that is half-open.
        Rule::Media(MediaRule::AudioWithoutSpeaking) => !frozen,
        // Of the silence after speech some went into a path that was dead.
        Rule::Media(MediaRule::SilenceMissing { .. }) => !path_died,
        _ => true,
    });
    unexplained.map(|violation| format!("violation: {}", violation.rule)).collect()
}

/// What is played arrives.
async fn inaudible(world: &World, script: &Script, live: &[Option<CallHandle>]) -> Vec<String> {
    let calls = || live.iter().enumerate().filter(|(_, call)| call.is_some()).map(|(guild, _)| guild);
    let heard = |guild: usize| -> u64 {
        let record = &world.guilds[guild];
        match script.dave {
            Dave::Off => {
                let of_channel = record
                    .channels
                    .iter()
                    .filter_map(|channel| world.discord.relay().recording_in(channel.id, world.bot.user_id));
                of_channel.map(|hearing| hearing.packets).sum()
            }
            _ => record.listeners.iter().map(|ear| ear.packets_heard(world.bot.user_id)).sum(),
        }
    };
    let before: Vec<(usize, u64)> = calls().map(|guild| (guild, heard(guild))).collect();
    calls().for_each(|guild| world.speak(&world.guilds[guild], PROBE_FRAMES));
    tokio::time::sleep(PROBE_TIME).await;
    let now = before.into_iter().map(|(guild, before)| (guild, heard(guild) - before));
    let inaudible = now.filter(|(_, heard)| *heard < u64::from(PROBE_FRAMES));
    inaudible
        .map(|(guild, heard)| format!("guild {guild}: {heard} of {PROBE_FRAMES} frames arrived"))
        .collect()
}

impl Record {
    /// Whether anything went wrong in this guild in this time, or may still have been on its way.
    fn disturbed(&self, guild: usize, from: Instant, until: Instant) -> bool {
        self.acts_in(guild, from, until).any(Act::disturbs)
    }

    /// What happened to this guild in this time, or before, and still went on.
    fn acts_in(&self, guild: usize, from: Instant, until: Instant) -> impl Iterator<Item = &Act> {
        let calm = self.calms.iter().copied().filter(|calm| *calm < from).max();
        let inside = self.acts.iter().filter(move |(at, act)| {
            *at <= until && (*at >= from || act.lasts() && calm.is_none_or(|calm| *at > calm))
        });
        let touches = move |act: &&Act| act.guild().is_none_or(|of| of == guild);
        inside.map(|(_, act)| act).filter(touches)
    }

    /// Whether an end for this reason at this time has a cause.
    fn explains(&self, reason: &EndReason, guild: usize, at: Instant) -> bool {
        let mut acts = self.acts_in(guild, at - SETTLING, at);
        match reason {
            EndReason::Left => acts.any(|act| matches!(act, Act::Disconnect { .. })),
            // A moderator's move to the very channel that the bot has asked for looks like the answer to that, where events are
            // late.
            EndReason::Kicked => {
                let acts: Vec<&Act> = acts.collect();
                let any = |fits: fn(&Act) -> bool| acts.iter().any(|act| fits(act));
                any(|act| matches!(act, Act::Kick { .. }))
                    || any(|act| matches!(act, Act::Move { .. })) && any(Act::delays_answers)
            }
            EndReason::NotJoined(failure) => self.explains_failure(*failure, guild, at),
            EndReason::Refused(CloseCode(code)) => {
                let final_at_last = matches!(CloseCode(*code).verdict(), Verdict::RejoinOnce | Verdict::Stop);
                final_at_last && acts.filter(|act| **act == Act::CloseVoice(*code)).count() > 1
            }
            // Every failure but those of late answers is one of the script's.
            EndReason::GaveUp { failures, .. } => {
                let acts: Vec<&Act> = acts.filter(|act| act.disturbs()).collect();
                let caused: usize = acts.iter().map(|act| act.failures()).sum();
                caused + self.armed(at - SETTLING) >= *failures || acts.iter().any(|act| act.delays_answers())
            }
            EndReason::GuildDeleted => acts.any(|act| matches!(act, Act::Outage { .. })),
            _ => false,
        }
    }

    /// How many failures may come of faults that were set before this time, and wait for a voice session to strike.
    fn armed(&self, before: Instant) -> usize {
        let waits = |act: &Act| matches!(act, Act::RefuseResume | Act::MuteAcks);
        self.acts.iter().filter(|(at, act)| *at < before && waits(act)).map(|(_, act)| act.failures()).sum()
    }

    /// Discord answers late, or never; what the failure names is what happened.
    fn explains_failure(&self, failure: JoinFailure, guild: usize, at: Instant) -> bool {
        let mut acts = self.acts_in(guild, at - SETTLING, at);
        match failure {
            JoinFailure::NoEndpoint => acts.any(|act| matches!(act, Act::TakeEndpoint { .. })),
            JoinFailure::GuildUnavailable => acts.any(|act| matches!(act, Act::Outage { .. })),
            JoinFailure::NoGateway | JoinFailure::SlowGateway => {
                acts.any(|act| act.delays_answers() && act.guild().is_none())
            }
            _ => {
                let mut acts = self.acts_in(guild, at - ANSWERING, at);
                acts.any(|act| act.delays_answers() || matches!(act, Act::Kick { .. } | Act::Move { .. }))
            }
        }
    }
}

/// How long nothing is made to go wrong before everything has to be as it should.
pub const QUIET: Duration = Duration::from_secs(180);
/// How long the effects of a disturbance may be felt.
const SETTLING: Duration = Duration::from_secs(120);
/// How long after a disturbance an answer may be missing.
const ANSWERING: Duration = Duration::from_secs(60);
/// How long a join may take where nothing is in its way.
const QUIET_JOIN: Duration = Duration::from_secs(7);
/// The longest handshake of a voice session: websocket, Ready, discovery, description.
const HANDSHAKE: Duration = Duration::from_secs(40);
const SLACK: Duration = Duration::from_secs(1);
const PROBE_FRAMES: u32 = 25;
const PROBE_TIME: Duration = Duration::from_secs(2);
