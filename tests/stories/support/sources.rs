//! The sources that stories play: actors that behave, and some that do not.

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

/// Supplies what is on it as it is asked, and then does as told.
pub struct Shelf {
    packets: VecDeque<Bytes>,
    then: Then,
    owed: usize,
    supplier: Option<Supplier>,
}

/// What a shelf does when it is empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Says that it is done.
    Finish,
    /// Nothing at all.
    Hang,
    /// Stops without a word.
    Leave,
    /// Panics.
    Panic,
}

impl Shelf {
    pub fn new(packets: impl IntoIterator<Item = Bytes>, then: Then) -> Self {
        Self { packets: packets.into_iter().collect(), then, owed: 0, supplier: None }
    }

    fn supply(&mut self, ctx: &mut Context<Self>) {
        let Some(supplier) = &self.supplier else { return };
        while self.owed > 0 {
            match (self.packets.pop_front(), self.then) {
                (Some(packet), _) => supplier.supply(Frame::Opus(packet)),
                (None, Then::Finish) => return supplier.finish(),
                (None, Then::Hang) => return,
                (None, Then::Leave) => return ctx.stop(),
                (None, Then::Panic) => panic!("a shelf panics, as it was told"),
            }
            self.owed -= 1;
        }
    }
}

impl Actor for Shelf {
    type Context = Context<Self>;
}

impl Handler<Demand> for Shelf {
    type Result = ();

    fn handle(&mut self, demand: Demand, ctx: &mut Context<Self>) {
        self.owed += demand.frames;
        self.supplier = Some(demand.supplier);
        self.supply(ctx);
    }
}

/// **Story → Shelf.** Here is more, and this is what to do then.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Restock(pub Vec<Bytes>, pub Then);

impl Handler<Restock> for Shelf {
    type Result = ();

    fn handle(&mut self, Restock(packets, then): Restock, ctx: &mut Context<Self>) {
        self.packets.extend(packets);
        self.then = then;
        self.supply(ctx);
    }
}

/// Supplies one frame in so much time, and counts what is asked of it.
pub struct Slow {
    packets: VecDeque<Bytes>,
    every: Duration,
    owed: usize,
    most_owed: Arc<AtomicUsize>,
    supplier: Option<Supplier>,
}

impl Slow {
    pub fn new(
        packets: impl IntoIterator<Item = Bytes>,
        every: Duration,
        most_owed: &Arc<AtomicUsize>,
    ) -> Self {
        let packets = packets.into_iter().collect();
        Self { packets, every, owed: 0, most_owed: Arc::clone(most_owed), supplier: None }
    }

    fn supply(&mut self, ctx: &mut Context<Self>) {
        let Some(supplier) = self.supplier.as_ref().filter(|_| self.owed > 0) else { return };
        match self.packets.pop_front() {
            Some(packet) => supplier.supply(Frame::Opus(packet)),
            None => {
                supplier.finish();
                ctx.stop();
            }
        }
        self.owed -= 1;
    }
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(self.every, Self::supply);
    }
}

impl Handler<Demand> for Slow {
    type Result = ();

    fn handle(&mut self, demand: Demand, _: &mut Context<Self>) {
        self.owed += demand.frames;
        self.most_owed.fetch_max(self.owed, Ordering::Relaxed);
        self.supplier = Some(demand.supplier);
    }
}

/// Supplies ten times what it is asked for, and counts it.
pub struct Greedy {
    packets: Vec<Bytes>,
    demands: usize,
    supplied: Arc<AtomicUsize>,
}

impl Greedy {
    pub fn new(packets: Vec<Bytes>, supplied: &Arc<AtomicUsize>) -> Self {
        Self { packets, demands: 0, supplied: Arc::clone(supplied) }
    }
}

impl Actor for Greedy {
    type Context = Context<Self>;
}

impl Handler<Demand> for Greedy {
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
pub struct Round {
    packets: Vec<Bytes>,
    at: usize,
    end: usize,
}

impl Round {
    pub fn new(packets: Vec<Bytes>, length: usize) -> Self {
        Self { packets, at: 0, end: length }
    }
}

impl Actor for Round {
    type Context = Context<Self>;
}

impl Handler<Demand> for Round {
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
