//! How long the steps of a packet take, and a message from one actor to another.

use std::time::Instant;

use actix::{Actor, Addr, Context, Handler, Message};
use actix_rt::{Arbiter, System};
use criterion::{Criterion, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    for mut step in bench_micro::all() {
        criterion.bench_function(&step.name, |bencher| bencher.iter(&mut step.take));
    }
}

/// There and back: two messages.
fn hops(criterion: &mut Criterion) {
    let system = System::new();
    let other = Arbiter::new();
    let (here, there) =
        system.block_on(async { (Echo.start(), Echo::start_in_arbiter(&other.handle(), |_| Echo)) });
    let mut measure = |name: &str, echo: &Addr<Echo>| {
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|times| system.block_on(exchange(echo, times)));
        });
    };
    measure("message-there-and-back-on-an-arbiter", &here);
    measure("message-there-and-back-between-arbiters", &there);
    other.stop();
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
async fn exchange(echo: &Addr<Echo>, times: u64) -> std::time::Duration {
    let began = Instant::now();
    for number in 0..times {
        let answer = echo.send(Number(number)).await;
        assert_eq!(answer.ok(), Some(number));
    }
    began.elapsed()
}

struct Echo;

#[derive(Message)]
#[rtype(result = "u64")]
struct Number(u64);

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Handler<Number> for Echo {
    type Result = u64;

    fn handle(&mut self, Number(number): Number, _: &mut Context<Self>) -> u64 {
        number
    }
}

criterion_group!(benches, steps, hops);
criterion_main!(benches);
