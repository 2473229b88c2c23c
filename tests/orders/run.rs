//! Plays a script, and cuts one down that fails.

use std::thread;

use tokio::time::Instant;

use crate::{
    invariants::{QUIET, broken},
    script::Script,
    world::World,
};

/// How a script ended.
pub enum Outcome {
    Fine,
    /// What was wrong, in words.
    Broken(Vec<String>),
}

/// Plays a script on a thread of its own, on paused time.
pub fn run(script: &Script) -> Outcome {
    let script = script.clone();
    let played = thread::spawn(move || {
        fastrand::seed(script.seed);
        actix::System::new().block_on(async {
            tokio::time::pause();
            play(&script).await
        })
    });
    match played.join() {
        Ok(found) if found.is_empty() => Outcome::Fine,
        Ok(found) => Outcome::Broken(found),
        Err(_) => Outcome::Broken(vec!["it panicked".into()]),
    }
}

async fn play(script: &Script) -> Vec<String> {
    let world = World::start(script).await;
    for (number, scene) in script.scenes.iter().enumerate() {
        let began = Instant::now();
        for step in &scene.steps {
            tokio::time::sleep_until(began + step.at).await;
            world.act(&step.act);
        }
        world.calm();
        let calm = Instant::now();
        tokio::time::sleep_until(calm + QUIET).await;
        let found = broken(&world, script, calm).await;
        if !found.is_empty() {
            let mut found: Vec<String> =
                found.into_iter().map(|what| format!("after scene {number}: {what}")).collect();
            if std::env::var_os("ORDERS_LOG").is_some() {
                found.push(world.log(began));
            }
            return found;
        }
    }
    Vec::new()
}

/// Drops steps for as long as what is left still fails.
pub fn shrink(mut script: Script, mut found: Vec<String>) -> (Script, Vec<String>) {
    let mut tries = TRIES;
    let mut index = script.len();
    while index > 0 && tries > 0 {
        index -= 1;
        tries -= 1;
        let shorter = script.without(index);
        if let Outcome::Broken(still) = run(&shorter) {
            (script, found) = (shorter, still);
        }
    }
    let compact = script.without_empty_scenes();
    match run(&compact) {
        Outcome::Broken(still) => (compact, still),
        Outcome::Fine => (script, found),
    }
}

/// How often a script is played again to cut it down.
const TRIES: u32 = 80;
