//! What the demo lets the bot hear: two members who speak over a bad network, recorded and compared with what they said.

use std::{fmt, fs::File, io::BufReader, path::Path, time::Duration};

use actix::Actor;
use actix_voice::{
    actors::{Recorder, StopRecording},
    id::UserId,
    recording::{RecordingFile, Session, Settings, TrackPlayer},
};

use crate::{
    bot::{Bot, GatewayUrl},
    exit::Failure,
    interrupt::Interrupt,
    local_discord::{self, Judgement, LocalDiscord, Said, Trace},
    screen::Screen,
};

/// What came of one speaker.
#[derive(Clone, Debug)]
struct Hearing {
    user: UserId,
    judgement: Judgement,
    /// PESQ, wideband (ITU-T P.862.2): 1 is bad, 4.64 is the same.
    pesq: f32,
    packets: u64,
    lost: u64,
    /// Packets that were lost on the way.
    dropped: u64,
}

/// What came of all.
#[derive(Clone, Debug)]
pub struct HearingReport {
    speakers: Vec<Hearing>,
}

/// Lets two members speak, records them into a folder, and compares.
///
/// # Errors
///
/// When there is no recording.
pub async fn hear(seconds: u32, out: &Path) -> Result<HearingReport, Failure> {
    let interrupt = Interrupt::listen()?;
    let discord = LocalDiscord::start(local_discord::Settings::at(([127, 0, 0, 1], 0).into()))?;
    let screen = Screen::new(Some(Duration::from_secs(seconds.into())));
    let gateway = GatewayUrl::parse(&discord.gateway()).map_err(Failure::Other)?;
    let bot = Bot::log_in(&gateway, discord.token(), &screen).await?;
    let recorded = tokio::select! {
        recorded = record(&bot, &discord, seconds, out, &screen) => recorded,
        () = interrupt.requested() => Err(Failure::NotWhole("interrupted".into())),
    };
    bot.log_out().await;
    screen.clear();
    let (mut said, session) = recorded?;
    said.sort_by_key(|said| said.user);
    let speakers = said.into_iter().map(|said| compare(said, &session, out)).collect::<Result<_, _>>()?;
    Ok(HearingReport { speakers })
}

async fn record(
    bot: &Bot,
    discord: &LocalDiscord,
    seconds: u32,
    out: &Path,
    screen: &Screen,
) -> Result<(Vec<Said>, Session), Failure> {
    let settings = Settings::new(discord.guild(), discord.channel());
    let recorder = Recorder::new(bot.manager().clone(), settings, out);
    let recorder = recorder.map_err(|error| Failure::Other(error.to_string()))?.start();
    let call = bot.join(discord.guild(), discord.channel()).await?;
    screen.print_line("two members speak, and 10 % of what they say is lost on the way");
    let length = Duration::from_secs(seconds.into());
    let speaking = discord.speak(length, (1..=2).map(|number| (number, losses(number))))?;
    let said = speaking.await.map_err(|_| Failure::Other("the loopback has ended".into()))?;
    tokio::time::sleep(ARRIVAL).await;
    let stopped = recorder.send(StopRecording).await;
    let session = stopped.map_err(|error| Failure::Other(error.to_string()))?;
    // A call that is over has left.
    let _ = call.disconnect().await;
    Ok((said, session))
}

fn compare(said: Said, session: &Session, out: &Path) -> Result<Hearing, Failure> {
    let Some(speaker) = session.speakers.iter().find(|speaker| speaker.user == said.user) else {
        return Err(Failure::NotWhole(format!("nothing was heard of {}", said.user)));
    };
    let recorded = decode(&out.join(RecordingFile::Track(said.user).to_string()))?;
    let judgement = Judgement::of(&said.audio, &recorded, Duration::ZERO);
    let start = judgement.score.offset.max(0).unsigned_abs() as usize;
    let heard = recorded.get(2 * start..).unwrap_or_default();
    let heard = &heard[..heard.len().min(said.audio.len())];
    let pesq = pesq::pesq_wb(&telephone(&said.audio), &telephone(heard))
        .map_err(|error| Failure::NotWhole(format!("PESQ cannot compare it: {error}")))?;
    let (packets, lost, dropped) = (speaker.packets, speaker.lost, said.dropped);
    Ok(Hearing { user: said.user, judgement, pesq, packets, lost, dropped })
}

fn decode(file: &Path) -> Result<Vec<f32>, Failure> {
    let failed = |error: &dyn fmt::Display| Failure::Other(format!("{}: {error}", file.display()));
    let input = File::open(file).map_err(|error| failed(&error))?;
    let mut track = TrackPlayer::new(BufReader::new(input)).map_err(|error| failed(&error))?;
    let mut decoded = Vec::new();
    while let Some(frame) = track.next_frame().map_err(|error| failed(&error))? {
        decoded.extend_from_slice(&frame[..]);
    }
    Ok(decoded)
}

/// 16 kHz, one channel, 16 bits. What is above 8 kHz is taken off by a mean of what is near, for both alike.
fn telephone(stereo: &[f32]) -> Vec<i16> {
    let mean = |chunk: &[f32]| chunk.iter().sum::<f32>() / chunk.len() as f32;
    stereo.chunks(6).map(|chunk| (mean(chunk).clamp(-1.0, 1.0) * 32_767.0) as i16).collect()
}

/// One packet in ten is lost, in bursts, as on a bad line: after a loss the next is lost too in four of ten cases.
fn losses(seed: u64) -> Trace {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut lost = false;
    let packets = (0..PACKETS).map(|_| {
        lost = random.f64() < if lost { 0.4 } else { 0.1 * 0.6 / 0.9 };
        lost
    });
    Trace::pattern(packets.collect::<Vec<_>>())
}

impl HearingReport {
    /// # Errors
    ///
    /// When it was not heard as well as it can be, with everything that was amiss.
    pub fn verdict(&self) -> Result<(), Failure> {
        let mut complaints: Vec<String> = self.speakers.iter().flat_map(Hearing::complaints).collect();
        let offsets = self.speakers.iter().map(|speaker| speaker.judgement.late_ms);
        let (first, last) =
            offsets.fold((f64::MAX, f64::MIN), |(first, last), ms| (first.min(ms), last.max(ms)));
        if last - first > ALIGNED_MS {
            complaints.push(format!("the speakers are {:.1} ms apart who spoke at once", last - first));
        }
        if complaints.is_empty() { Ok(()) } else { Err(Failure::NotWhole(complaints.join("; "))) }
    }
}

impl Hearing {
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.pesq < PESQ_MIN {
            complaints.push(format!("PESQ of {} is {:.2}, and should be {PESQ_MIN}", self.user, self.pesq));
        }
        if self.lost != self.dropped {
            complaints.push(format!("of {} {} were lost, and {} missed", self.user, self.dropped, self.lost));
        }
        complaints
    }
}

impl fmt::Display for HearingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for speaker in &self.speakers {
            let Hearing { user, judgement, pesq, packets, lost, .. } = speaker;
            let share = *lost as f64 * 100.0 / (packets + lost).max(1) as f64;
            if *user != self.speakers[0].user {
                writeln!(f)?;
            }
            writeln!(f, "speaker    {user}")?;
            writeln!(f, "heard      {packets} packets, {lost} lost ({share:.1} %)")?;
            writeln!(f, "PESQ       {pesq:.2} (4.64 is the same), beside what was said without a loss")?;
            write!(f, "delay      {:+.1} ms from the beginning of the recording", judgement.late_ms)?;
        }
        Ok(())
    }
}

/// What is still on its way when all is said: longer than a recording waits for what is missing.
const ARRIVAL: Duration = Duration::from_millis(1_300);
/// Ten minutes.
const PACKETS: usize = 30_000;
/// Beside speech that is lost in bursts, where the half cannot be restored.
const PESQ_MIN: f32 = 2.8;
const ALIGNED_MS: f64 = 20.0;
