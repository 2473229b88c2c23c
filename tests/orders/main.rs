//! One model, all orders: scripts that follow from seeds, and what has to be true after each.
//!
//! A seed that fails is cut down to the steps that it takes, and printed. `./dev soak` plays any number of seeds.

mod invariants;
mod run;
mod script;
mod world;

use std::env;

use crate::{run::Outcome, script::Script};

#[test]
fn a_first_sixth_of_the_seeds_ends_well() {
    play(0);
}

#[test]
fn a_second_sixth_of_the_seeds_ends_well() {
    play(1);
}

#[test]
fn a_third_sixth_of_the_seeds_ends_well() {
    play(2);
}

#[test]
fn a_fourth_sixth_of_the_seeds_ends_well() {
    play(3);
}

#[test]
fn a_fifth_sixth_of_the_seeds_ends_well() {
    play(4);
}

#[test]
fn a_last_sixth_of_the_seeds_ends_well() {
    play(5);
}

/// Plays every sixth seed from the one with this number on.
fn play(share: u64) {
    let (from, seeds) = (number("ORDERS_FROM", 0), number("ORDERS_SEEDS", SEEDS));
    let of_share: Vec<u64> = (from..from + seeds).filter(|seed| seed % SHARES == share).collect();
    let mut failed = Vec::new();
    for &seed in &of_share {
        if let Outcome::Broken(found) = run::run(&Script::of(seed)) {
            let (script, found) = run::shrink(Script::of(seed), found);
            println!("FAILED {script}  {}\n", found.join("\n  "));
            failed.push(seed);
        }
    }
    println!("share {share}: {} seeds, failed: {failed:?}", of_share.len());
    assert!(failed.is_empty(), "of {} seeds these fail: {failed:?}", of_share.len());
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = env::var(variable).ok();
    given.map_or(otherwise, |given| {
        given.parse().unwrap_or_else(|_| panic!("{variable} is no number: {given}"))
    })
}

/// How many tests share the seeds; they run side by side.
const SHARES: u64 = 6;
/// What is played without being asked for more.
const SEEDS: u64 = 300;
