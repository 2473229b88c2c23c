//! The floor: the least that voice packets can cost on this machine.
//!
//! One thread waits for each slot of a millisecond in which calls have a packet due, and for each of these calls does no
//! more than must be done: RTP header, DAVE, transport cipher, `send`. Everything is in memory, nothing can be stopped,
//! changed or measured, and no failure is mended. The calls are joined and their heartbeats sent on a second thread.
//!
//! It plays until it is ended. See `benches/compare`.

mod call;
mod sound;
mod turn;

use std::{
    sync::{Arc, mpsc},
    thread,
};

use bench_join::{Arguments, JoinError, allow_many_files, join};

use crate::sound::Sound;

fn main() -> Result<(), JoinError> {
    allow_many_files();
    let arguments = Arguments::read()?;
    let sound = Sound::load(&arguments)?;
    // Each call begins once, and its keys change while others join; the loop takes all of it every 20 ms.
    let (changes, changed) = mpsc::sync_channel(4 * arguments.calls + 16);
    let turns = thread::Builder::new().name("turns".into());
    let turning = turns.spawn(move || turn::run(&changed, &sound));
    turning.map_err(|error| JoinError(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| JoinError(error.to_string()))?.block_on(join_all(arguments, changes))
}

async fn join_all(arguments: Arguments, changes: mpsc::SyncSender<turn::Change>) -> Result<(), JoinError> {
    let mut servers = join(&arguments).await?;
    let changes = Arc::new(changes);
    for _ in 0..arguments.calls {
        let server = servers.recv().await.ok_or_else(|| JoinError("the main gateway is gone".into()))?;
        let (changes, source) = (changes.clone(), arguments.source);
        tokio::spawn(async move {
            let guild = server.guild;
            if let Err(error) = call::run(server, source, &changes).await {
                eprintln!("guild {guild}: {error}");
            }
        });
    }
    std::future::pending().await
}
