//! Joins: who waits for the call to be in which channel.

use tokio::sync::oneshot;

use super::message::{JoinChannel, JoinOutcome};
use crate::{
    bridge::{JoinFailure, Request, events::SelfFlags},
    id::ChannelId,
};

/// The channel that was asked for last and is not reached yet, and who waits for it.
#[derive(Default)]
pub(super) struct Joins {
    requested: Option<RequestedChannel>,
    /// How the bot is to appear in voice, as the last join has it.
    flags: SelfFlags,
    /// Whether anyone listens: then the bot is not deaf.
    listens: bool,
}

struct RequestedChannel {
    /// The one that the joins named.
    asked: ChannelId,
    /// The one that is waited for: a moderator may have moved the bot since it was in the other.
    channel: ChannelId,
    progress: Progress,
    waiters: Vec<oneshot::Sender<JoinOutcome>>,
}

/// Whether Discord has had the bot in the channel since it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Asked,
    Reached,
}

/// What a join comes to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requested {
    /// The channel has to be asked for.
    New,
    /// It has been asked for already.
    Already,
}

impl Joins {
    /// The channel that is not reached yet.
    pub(super) fn channel(&self) -> Option<ChannelId> {
        self.requested.as_ref().map(|requested| requested.channel)
    }

    /// What the bridge is asked, to be in this channel as the last join has it.
    pub(super) fn request(&self, channel: ChannelId) -> Request {
        Request::Join { channel, flags: self.flags() }
    }

    /// How the bot appears in voice.
    pub(super) fn flags(&self) -> SelfFlags {
        SelfFlags { deaf: self.flags.deaf && !self.listens, ..self.flags }
    }

    /// Notes whether anyone listens.
    pub(super) fn listen(&mut self, listens: bool) {
        self.listens = listens;
    }

    /// Notes how the bot is to appear from now on, and says whether that is new.
    pub(super) fn appear(&mut self, flags: SelfFlags) -> Requested {
        let before = self.flags();
        self.flags = flags;
        if self.flags() == before { Requested::Already } else { Requested::New }
    }

    /// Waits for a channel; whoever waited for another one has waited in vain.
    pub(super) fn wait(&mut self, join: JoinChannel) -> Requested {
        match &mut self.requested {
            Some(requested) if requested.channel == join.channel => {
                requested.waiters.push(join.outcome);
                Requested::Already
            }
            Some(requested) if requested.asked == join.channel => {
                requested.channel = join.channel;
                requested.progress = Progress::Asked;
                requested.waiters.push(join.outcome);
                Requested::New
            }
            _ => {
                self.supersede();
                self.requested = Some(RequestedChannel {
                    asked: join.channel,
                    channel: join.channel,
                    progress: Progress::Asked,
                    waiters: vec![join.outcome],
                });
                Requested::New
            }
        }
    }

    /// Discord has the bot in this channel. What takes it away from the one that was asked for, once it was there, is a
    /// moderator's move: who waits, waits for the channel where the bot is now. A channel that is asked for after such a move,
    /// of which nobody has heard yet, is still to be reached.
    pub(super) fn located(&mut self, channel: ChannelId) {
        match &mut self.requested {
            Some(requested) if requested.channel == channel => requested.progress = Progress::Reached,
            Some(requested) if requested.progress == Progress::Reached => requested.channel = channel,
            _ => {}
        }
    }

    /// The bot had reached the channel that was asked for, and was moved to this one before it could connect.
    pub(super) fn redirect(&mut self, channel: ChannelId) {
        if let Some(requested) = &mut self.requested {
            requested.channel = channel;
            requested.progress = Progress::Reached;
        }
    }

    /// Another channel, or the one where the bot is, was asked for.
    pub(super) fn supersede(&mut self) {
        self.answer(&Err(super::JoinError::NotMoved(JoinFailure::Superseded)));
    }

    /// Answers those who wait.
    pub(super) fn answer(&mut self, outcome: &JoinOutcome) {
        for waiter in self.requested.take().into_iter().flat_map(|requested| requested.waiters) {
            // Whoever asked may no longer wait.
            let _ = waiter.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOUNGE: ChannelId = ChannelId(1);
    const STAGE: ChannelId = ChannelId(2);
    const CELLAR: ChannelId = ChannelId(3);

    fn asked(channel: ChannelId) -> Joins {
        let mut joins = Joins::default();
        ask(&mut joins, channel);
        joins
    }

    fn ask(joins: &mut Joins, channel: ChannelId) -> Requested {
        let (outcome, _) = oneshot::channel();
        joins.wait(JoinChannel { channel, flags: SelfFlags::default(), outcome })
    }

    #[test]
    fn a_join_follows_a_move_from_the_channel_that_it_has_reached() {
        let mut joins = asked(LOUNGE);
        joins.located(LOUNGE);
        joins.located(STAGE);
        assert_eq!(joins.channel(), Some(STAGE));
        joins.located(CELLAR);
        assert_eq!(joins.channel(), Some(CELLAR), "and the next move too");
    }

    #[test]
    fn a_join_of_a_channel_that_it_has_not_reached_follows_no_move() {
        let mut joins = asked(LOUNGE);
        joins.located(STAGE);
        assert_eq!(joins.channel(), Some(LOUNGE));
        joins.located(LOUNGE);
        assert_eq!(ask(&mut joins, LOUNGE), Requested::Already);
        joins.located(CELLAR);
        assert_eq!(joins.channel(), Some(CELLAR), "the first has reached it, and the second waits with it");
    }

    #[test]
    fn a_join_of_the_same_channel_after_a_move_takes_the_first_back_there() {
        let mut joins = Joins::default();
        let ask = |joins: &mut Joins| {
            let (outcome, answer) = oneshot::channel();
            let join = JoinChannel { channel: LOUNGE, flags: SelfFlags::default(), outcome };
            (joins.wait(join), answer)
        };
        let (_, mut first) = ask(&mut joins);
        joins.located(LOUNGE);
        joins.located(STAGE);
        let (asked, _second) = ask(&mut joins);
        assert_eq!((asked, joins.channel()), (Requested::New, Some(LOUNGE)));
        first.try_recv().expect_err("it waits with the second");
        joins.located(CELLAR);
        assert_eq!(joins.channel(), Some(LOUNGE), "which has reached nothing yet");
    }

    #[test]
    fn another_join_has_reached_nothing_yet() {
        let mut joins = asked(LOUNGE);
        joins.located(LOUNGE);
        assert_eq!(ask(&mut joins, STAGE), Requested::New);
        joins.located(CELLAR);
        assert_eq!(joins.channel(), Some(STAGE));
    }
}
