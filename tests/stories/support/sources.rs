//! The sources that stories play: actors that supply what they are asked for, and some that do not.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use actix_voice::{
    actors::{Demand, Supplier},
    audio::frame::Frame,
};
use bytes::Bytes;

/// Supplies its packets as they are asked for, and then does what [`WhenEmpty`] says.
pub struct QueueSource {
    packets: VecDeque<Bytes>,
    when_empty: WhenEmpty,
    outstanding: usize,
    supplier: Option<Supplier>,
}

/// What a [`QueueSource`] does when it has no packet left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Says that it has finished.
    Finish,
    /// Does nothing at all.
    Hang,
    /// Stops without a word.
    Stop,
    /// Panics.
    Panic,
}

impl QueueSource {
    pub fn new(packets: impl IntoIterator<Item = Bytes>, when_empty: WhenEmpty) -> Self {
        Self { packets: packets.into_iter().collect(), when_empty, outstanding: 0, supplier: None }
    }

    fn supply(&mut self, ctx: &mut Context<Self>) {
        let Some(supplier) = &self.supplier else { return };
        while self.outstanding > 0 {
            match (self.packets.pop_front(), self.when_empty) {
                (Some(packet), _) => supplier.supply(Frame::Opus(packet)),
                (None, WhenEmpty::Finish) => return supplier.finish(),
                (None, WhenEmpty::Hang) => return,
                (None, WhenEmpty::Stop) => return ctx.stop(),
                (None, WhenEmpty::Panic) => panic!("a shelf panics, as it was told"),
            }
            self.outstanding -= 1;
        }
    }
}

impl Actor for QueueSource {
    type Context = Context<Self>;
}

impl Handler<Demand> for QueueSource {
    type Result = ();

    fn handle(&mut self, demand: Demand, ctx: &mut Context<Self>) {
        self.outstanding += demand.frames;
        self.supplier = Some(demand.supplier);
        self.supply(ctx);
    }
}

/// **Story → QueueSource.** More packets, and what to do after them.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Refill(pub Vec<Bytes>, pub WhenEmpty);

impl Handler<Refill> for QueueSource {
    type Result = ();

    fn handle(&mut self, Refill(packets, when_empty): Refill, ctx: &mut Context<Self>) {
        self.packets.extend(packets);
        self.when_empty = when_empty;
        self.supply(ctx);
    }
}

/// Supplies one frame in so much time, and counts what is asked of it.
pub struct SlowSource {
    packets: VecDeque<Bytes>,
    every: Duration,
    outstanding: usize,
    most_outstanding: Arc<AtomicUsize>,
    supplier: Option<Supplier>,
}

impl SlowSource {
    pub fn new(
        packets: impl IntoIterator<Item = Bytes>,
        every: Duration,
        most_outstanding: &Arc<AtomicUsize>,
    ) -> Self {
        let packets = packets.into_iter().collect();
        Self {
            packets,
            every,
            outstanding: 0,
            most_outstanding: Arc::clone(most_outstanding),
            supplier: None,
        }
    }

    fn supply(&mut self, ctx: &mut Context<Self>) {
        let Some(supplier) = self.supplier.as_ref().filter(|_| self.outstanding > 0) else { return };
        match self.packets.pop_front() {
            Some(packet) => supplier.supply(Frame::Opus(packet)),
            None => {
                supplier.finish();
                ctx.stop();
            }
        }
        self.outstanding -= 1;
    }
}

impl Actor for SlowSource {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.every, Self::supply);
    }
}

impl Handler<Demand> for SlowSource {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        self.outstanding += demand.frames;
        self.most_outstanding.fetch_max(self.outstanding, Ordering::Relaxed);
        self.supplier = Some(demand.supplier);
    }
}

/// Supplies ten times what it is asked for, and counts it.
pub struct GreedySource {
    packets: Vec<Bytes>,
    demands: usize,
    supplied: Arc<AtomicUsize>,
}

impl GreedySource {
    pub fn new(packets: Vec<Bytes>, supplied: &Arc<AtomicUsize>) -> Self {
        Self { packets, demands: 0, supplied: Arc::clone(supplied) }
    }
}

impl Actor for GreedySource {
    type Context = Context<Self>;
}

impl Handler<Demand> for GreedySource {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        for _ in 0..10 * demand.frames {
            let packet = self.packets[self.demands % self.packets.len()].clone();
            demand.supplier.supply(Frame::Opus(packet));
            self.supplied.fetch_add(1, Ordering::Relaxed);
        }
        self.demands += 1;
    }
}

/// Supplies so many packets, the same few over and over.
pub struct LoopSource {
    packets: Vec<Bytes>,
    at: usize,
    end: usize,
}

impl LoopSource {
    pub fn new(packets: Vec<Bytes>, length: usize) -> Self {
        Self { packets, at: 0, end: length }
    }
}

impl Actor for LoopSource {
    type Context = Context<Self>;
}

impl Handler<Demand> for LoopSource {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        for _ in 0..demand.frames {
            if self.at == self.end {
                return demand.supplier.finish();
            }
            demand.supplier.supply(Frame::Opus(self.packets[self.at % self.packets.len()].clone()));
            self.at += 1;
        }
    }
}
