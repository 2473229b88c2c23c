//! The relay as it measures, on a thread of its own and in real time.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Client, V4, until};
use crate::builder::RelayThread;
use crate::cipher::Mode;
use crate::relay::Relay;

#[tokio::test]
async fn what_came_is_measured_from_one_question_to_the_next() {
    let relay = Relay::start_on(V4, 1, RelayThread::Own).unwrap();
    let mut speakers = [
        Client::join(&relay, 1, 10, Mode::Aes256GcmRtpsize).await,
        Client::join(&relay, 2, 20, Mode::Aes256GcmRtpsize).await,
    ];
    let asked = Instant::now();
    relay.measure();
    let late = |packet: u32| if packet == 30 { 45 } else { 0 };
    for packet in 0..50 {
        sleep_until(asked + Duration::from_millis(u64::from(packet * 20 + late(packet)))).await;
        for speaker in &mut speakers {
            // One is lost.
            if (packet, speaker.ssrc) == (20, 2) {
                speaker.sent += 1;
            } else {
                speaker.say(&[0xFC, 1, 2]).await;
            }
        }
    }
    until(&relay, |relay| relay.counters().received == 2 + 99).await;
    let first = relay.measure();
    assert_eq!((first.senders, first.packets, first.lost, first.socket_drops), (2, 99, 1, 0));
    assert_eq!(first.spacing.count(), 97);
    let p50 = first.spacing.p50();
    assert!((18..=22).contains(&p50.as_millis()), "{p50:?}");
    let errors = [first.spacing_error.p50(), first.spacing_error.max()];
    assert!(errors[0] < Duration::from_millis(10) && errors[1] > Duration::from_millis(35), "{errors:?}");
    assert!(first.lateness.max() > Duration::from_millis(35), "{:?}", first.lateness.max());
    assert!(first.elapsed >= Duration::from_millis(980) && first.elapsed <= asked.elapsed());
    assert_eq!(first.limit(), None);

    let second = relay.measure();
    assert_eq!((second.senders, second.packets, second.lost), (0, 0, 0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the kernel's clock goes on while nobody looks")]
async fn a_datagram_came_when_the_kernel_took_it_and_not_when_the_relay_looked() {
    let relay = Relay::start_on(V4, 1, RelayThread::Own).unwrap();
    let mut speaker = Client::join(&relay, 1, 10, Mode::Aes256GcmRtpsize).await;
    relay.measure();
    speaker.say(&[0xFC, 1]).await;
    speaker.say(&[0xFC, 2]).await;
    let third = speaker.seal(&[0xFC, 3]);
    {
        // Nothing is taken from the socket while somebody else has the router.
        let _router = relay.shared().router();
        speaker.socket.try_send_to(&third, speaker.relay).unwrap();
        std::thread::sleep(Duration::from_millis(80));
    }
    until(&relay, |relay| relay.counters().received == 4).await;
    let measurement = relay.measure();
    let (gap, delay) = (measurement.spacing.max(), measurement.socket_delay.max());
    assert!(gap < Duration::from_millis(40), "{gap:?}");
    assert!(delay > Duration::from_millis(40), "{delay:?}");
    assert!(measurement.limit().is_some());
}
