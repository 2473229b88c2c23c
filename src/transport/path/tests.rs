//! The path against networks that change, and servers that answer late, twice, or never.

use super::*;
use crate::transport::tests::{start, unhex};

const SSRC: Ssrc = Ssrc(0x0708_090a);
const SECOND: Duration = Duration::from_secs(1);

/// A path, and the moment it lives in.
struct Story {
    path: MediaPath,
    now: Instant,
}

impl Story {
    /// A path whose first discovery was answered.
    fn open() -> Self {
        let mut story = Self { path: MediaPath::new(SSRC, start()), now: start() };
        assert_eq!(story.actions(), ["bind", "ask"]);
        story.answer(HOME);
        assert_eq!(story.actions(), ["select 203.0.113.7:1000"]);
        story.path.described(story.now);
        assert_eq!(story.actions(), [""; 0], "the first Session Description restores nothing");
        story
    }

    /// An open path whose server echoes.
    fn echoing() -> Self {
        let mut story = Self::open();
        assert_eq!(story.run(5 * SECOND), ["ping 1"]);
        assert_eq!(story.echo(1), Some(Duration::ZERO));
        story
    }

    /// A path that has died, and asks on a new socket.
    fn dead() -> Self {
        let mut story = Self::echoing();
        let dead = "the voice server no longer answers over UDP";
        assert_eq!(story.run(8 * SECOND), ["ping 2", "ask", "ask", "ask", dead, "bind", "ask"]);
        story
    }

    fn answer(&mut self, address: &str) -> Option<SocketAddr> {
        let (ip, port) = address.split_once(':').unwrap();
        let mut datagram = [&unhex("000200460708090a")[..], ip.as_bytes()].concat();
        datagram.resize(72, 0);
        datagram.extend_from_slice(&port.parse::<u16>().unwrap().to_be_bytes());
        self.path.answer(&datagram, self.now)
    }

    fn echo(&mut self, counter: u32) -> Option<Duration> {
        self.path.echoed(counter, self.now)
    }

    /// Lets this time pass, and says what was done in it.
    fn run(&mut self, time: Duration) -> Vec<String> {
        let (end, mut done) = (self.now + time, Vec::new());
        while let Some(deadline) = self.path.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            done.extend(self.actions());
        }
        self.now = end;
        done
    }

    fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.path.poll(self.now)).map(shown).collect()
    }
}

fn shown(action: Action) -> String {
    match action {
        Action::Bind => "bind".into(),
        Action::Unbind => "unbind".into(),
        Action::Send(Datagram::Discovery(_)) => "ask".into(),
        Action::Send(Datagram::Keepalive(ping)) => format!("ping {}", ping[7]),
        Action::SelectProtocol(address) => format!("select {address}"),
        Action::Report(PathStatus::Dead(why)) => why.to_string(),
        Action::Report(PathStatus::Restored) => "restored".into(),
        Action::Fail(error) => format!("fail: {error}"),
    }
}

const HOME: &str = "203.0.113.7:1000";
const ELSEWHERE: &str = "198.51.100.9:2000";

#[test]
fn a_server_that_echoes_costs_a_keepalive_every_five_seconds_and_nothing_else() {
    let mut story = Story::echoing();
    for counter in 2..100 {
        assert_eq!(story.run(5 * SECOND), [format!("ping {counter}")]);
        assert!(story.echo(counter).is_some());
    }
}

#[test]
fn a_server_that_never_echoes_is_asked_once_and_then_left_alone() {
    let mut story = Story::open();
    assert_eq!(story.run(6 * SECOND), ["ping 1", "ask"]);
    assert!(story.answer(HOME).is_some());
    for counter in 2..=120 {
        assert_eq!(story.run(5 * SECOND), [format!("ping {counter}")], "within ten minutes");
    }
}

#[test]
fn a_path_that_dies_before_its_first_echo_is_noticed_too() {
    let mut story = Story::open();
    let dead = "the voice server no longer answers over UDP";
    assert_eq!(story.run(8 * SECOND), ["ping 1", "ask", "ask", "ask", dead, "bind", "ask"]);
    assert!(story.answer(HOME).is_some());
    assert_eq!(story.actions(), ["restored", "ping 2"]);
}

#[test]
fn a_keepalive_from_before_a_check_is_not_missed_after_it() {
    let mut story = Story::echoing();
    assert_eq!(story.run(5 * SECOND), ["ping 2"]);
    story.path.websocket_lost(WebsocketLoss::Network, story.now);
    assert_eq!(story.actions(), ["ask"]);
    assert!(story.answer(HOME).is_some());
    story.path.websocket_resumed(story.now);
    assert_eq!(story.run(4 * SECOND), [""; 0], "the path was seen to carry");
    assert_eq!(story.run(SECOND), ["ping 3"]);
}

#[test]
fn echoes_that_stop_while_discovery_is_answered_change_nothing_and_are_not_missed_again() {
    let mut story = Story::echoing();
    assert_eq!(story.run(6 * SECOND), ["ping 2", "ask"]);
    assert!(story.answer(HOME).is_some());
    for counter in 3..20 {
        assert_eq!(story.run(5 * SECOND), [format!("ping {counter}")]);
    }
    assert!(story.echo(19).is_some(), "they are back");
    assert_eq!(story.run(6 * SECOND)[..2], ["ping 20", "ask"], "and are missed again");
}

#[test]
fn a_dead_path_is_noticed_within_eight_seconds_and_mended_on_a_new_socket() {
    let mut story = Story::echoing();
    let before = story.now;
    let mut done = Vec::new();
    while !done.contains(&"bind".to_owned()) {
        done.extend(story.run(SECOND / 10));
    }
    assert!(story.now - before <= 8 * SECOND, "{:?}", story.now - before);
    story.answer(ELSEWHERE);
    assert_eq!(story.actions(), ["select 198.51.100.9:2000"]);
    story.now += 12 * SECOND;
    assert_eq!(story.actions(), [""; 0], "the answer may take this long");
    story.path.described(story.now);
    assert_eq!(story.actions(), ["restored", "ping 3"]);
    story.path.described(story.now);
    assert_eq!(story.actions(), [""; 0], "a second answer says nothing new");
    assert!(story.echo(3).is_some());
}

#[test]
fn behind_an_address_that_stays_the_voice_gateway_need_not_know() {
    let mut story = Story::dead();
    assert!(story.answer(HOME).is_some());
    assert_eq!(story.actions(), ["restored", "ping 3"]);
    assert_eq!(story.answer(HOME), None, "a second answer is a stray");
}

#[test]
fn without_an_answer_on_the_new_socket_a_new_session_is_due() {
    let mut story = Story::dead();
    story.path.websocket_heard();
    let done = story.run(60 * SECOND);
    assert_eq!(done[..5], ["ask"; 5]);
    assert!(done[5].starts_with("fail: the voice server answered none of 6"), "{done:?}");
    assert_eq!((story.path.deadline(), story.answer(HOME)), (None, None));
}

#[test]
fn while_the_websocket_is_silent_too_the_path_waits_for_its_fate() {
    let mut story = Story::echoing();
    story.path.websocket_heard();
    let done = story.run(14 * SECOND);
    assert_eq!(done[4..7], ["the voice server no longer answers over UDP", "bind", "ask"]);
    assert_eq!(done[12..], ["bind", "ask"], "what was heard before the path died says nothing");
    story.path.websocket_lost(WebsocketLoss::Network, story.now);
    assert_eq!(story.run(5 * SECOND), ["ask"; 5]);
    story.path.websocket_resumed(story.now);
    assert_eq!(story.actions(), ["bind", "ask"]);
}

#[test]
fn a_new_address_that_the_voice_gateway_never_answers_ends_in_a_new_session() {
    let mut story = Story::dead();
    story.answer(ELSEWHERE);
    let done = story.run(60 * SECOND);
    assert_eq!(
        done,
        ["select 198.51.100.9:2000", "fail: the voice gateway did not answer a new address within 15 s"]
    );
}

#[test]
fn a_path_that_dies_again_at_once_is_not_mended_twice_and_one_that_dies_later_is() {
    let mut story = Story::dead();
    story.answer(HOME);
    let done = story.run(10 * SECOND);
    let again = "fail: the UDP path was restored and died again: the voice server no longer answers over UDP";
    assert_eq!(done, ["restored", "ping 3", "ask", "ask", "ask", again]);

    let mut story = Story::dead();
    story.answer(HOME);
    assert_eq!(story.actions(), ["restored", "ping 3"]);
    for counter in 3..9 {
        assert!(story.echo(counter).is_some());
        assert_eq!(story.run(5 * SECOND), [format!("ping {}", counter + 1)]);
    }
    let done = story.run(4 * SECOND);
    assert_eq!(done[3..6], ["the voice server no longer answers over UDP", "bind", "ask"]);
}

#[test]
fn a_lost_websocket_makes_the_path_be_asked_and_a_path_that_answers_is_left_alone() {
    for loss in [WebsocketLoss::Network, WebsocketLoss::Closed] {
        let mut story = Story::open();
        story.path.websocket_lost(loss, story.now);
        let asked = usize::from(loss == WebsocketLoss::Network);
        assert_eq!(story.actions(), vec!["ask"; asked], "{loss:?}");
        assert_eq!(story.answer(HOME).is_some(), asked == 1);
        story.path.websocket_resumed(story.now);
        assert_eq!(story.run(5 * SECOND), ["ping 1"], "{loss:?}");
    }
}

#[test]
fn while_the_network_is_away_nothing_fails_and_the_resumed_websocket_brings_a_new_socket() {
    let mut story = Story::open();
    story.path.websocket_lost(WebsocketLoss::Network, story.now);
    let done = story.run(60 * SECOND);
    let network =
        "the network changed: the websocket was lost, and the voice server does not answer over UDP";
    assert_eq!(done[..5], ["ask", "ask", "ask", network, "bind"]);
    assert!(done[5..].iter().all(|action| action == "ask" || action == "bind"), "{done:?}");
    story.path.websocket_resumed(story.now);
    assert_eq!(story.actions(), ["bind", "ask"]);
    story.answer(ELSEWHERE);
    assert_eq!(story.actions(), ["select 198.51.100.9:2000"]);
}

#[test]
fn an_address_found_without_a_websocket_is_told_on_the_next() {
    let mut story = Story::dead();
    story.path.websocket_lost(WebsocketLoss::Closed, story.now);
    story.answer(ELSEWHERE);
    assert_eq!(story.run(60 * SECOND), [""; 0]);
    story.path.websocket_resumed(story.now);
    assert_eq!(story.actions(), ["select 198.51.100.9:2000"]);
    story.path.websocket_lost(WebsocketLoss::Network, story.now);
    assert_eq!(story.run(60 * SECOND), [""; 0], "the answer went with the websocket");
    story.path.websocket_resumed(story.now);
    assert_eq!(story.actions(), ["select 198.51.100.9:2000"]);
    story.path.described(story.now);
    assert_eq!(story.actions(), ["restored", "ping 3"]);
}

#[test]
fn another_address_on_the_old_socket_is_told() {
    let mut story = Story::open();
    story.path.websocket_lost(WebsocketLoss::Network, story.now);
    story.path.websocket_resumed(story.now);
    assert_eq!(story.actions(), ["ask"]);
    story.answer(ELSEWHERE);
    assert_eq!(story.actions(), ["the bot's address changed", "select 198.51.100.9:2000"]);
}

#[test]
fn ten_refusals_within_two_seconds_are_a_dead_path_and_rare_ones_are_not() {
    let mut story = Story::open();
    for _ in 0..100 {
        story.path.refused(ErrorKind::ConnectionRefused, story.now);
        story.now += SECOND / 4;
    }
    assert!(story.actions().iter().all(|action| action.starts_with("ping")));
    story.now += 3 * SECOND;
    for _ in 0..10 {
        story.path.refused(ErrorKind::NetworkUnreachable, story.now);
    }
    let done = story.actions();
    assert!(done[0].contains("network unreachable") && done[0].contains("firewall"), "{done:?}");
    assert_eq!(done[1..], ["bind", "ask"]);
    for _ in 0..100 {
        story.path.refused(ErrorKind::NetworkUnreachable, story.now);
    }
    assert_eq!(story.actions(), [""; 0], "the new socket has until its deadline");
}

#[test]
fn without_a_socket_another_is_asked_for_with_every_request_unless_it_is_the_first() {
    let mut story = Story::dead();
    story.path.bind_failed(ErrorKind::NetworkUnreachable);
    assert_eq!(story.run(SECOND), ["bind", "ask"]);

    let mut path = MediaPath::new(SSRC, start());
    path.bind_failed(ErrorKind::NetworkUnreachable);
    assert!(matches!(path.poll(start()), Some(Action::Fail(LinkError::NoSocket(_)))));
}

#[test]
fn another_media_server_is_told_the_address_even_if_it_is_the_same() {
    let mut story = Story::open();
    story.path.server_lost(story.now);
    assert_eq!(story.actions(), ["Discord changes the media server", "unbind"]);
    story.path.server_changed(story.now);
    assert_eq!(story.actions(), ["bind", "ask"]);
    story.answer(HOME);
    assert_eq!(story.actions(), ["select 203.0.113.7:1000"]);
    story.path.described(story.now);
    assert_eq!(story.actions(), ["restored", "ping 1"]);

    story.path.server_lost(story.now);
    let done = story.run(60 * SECOND);
    assert_eq!(done[2..], ["fail: Discord named no other media server within 10 s"]);
}
