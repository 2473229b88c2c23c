//! What the bot was told, in order, and waiting for something in it.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use actix_voice::actors::{CallEvent, CallEventKind, main_gateway::MainGatewayEvent};
use tokio::sync::Notify;

/// What the bot was told, oldest first.
#[derive(Clone, Default)]
pub struct Events(Rc<Told>);

#[derive(Default)]
struct Told {
    seen: RefCell<Vec<Seen>>,
    read: RefCell<usize>,
    more: Notify,
}

#[derive(Clone, Debug)]
pub enum Seen {
    Call(CallEventKind),
    Main(MainGatewayEvent),
}

impl Events {
    /// An actor that notes what it is told here.
    pub fn listener(&self) -> Addr<Listener> {
        Listener(self.clone()).start()
    }

    /// All that was told.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.borrow().clone()
    }

    /// All that happened in calls.
    pub fn all(&self) -> Vec<CallEventKind> {
        let seen = self.0.seen.borrow();
        seen.iter()
            .filter_map(|seen| if let Seen::Call(what) = seen { Some(what.clone()) } else { None })
            .collect()
    }

    /// Waits up to two virtual minutes for an event after the last that was waited for.
    pub async fn until<T>(&self, awaited: &str, pick: impl Fn(&Seen) -> Option<T>) -> T {
        self.until_told(awaited, || self.next(&pick)).await
    }

    /// Waits up to two virtual minutes until what was told is enough.
    pub async fn until_told<T>(&self, awaited: &str, enough: impl Fn() -> Option<T>) -> T {
        let waiting = async {
            loop {
                let more = self.0.more.notified();
                if let Some(found) = enough() {
                    return found;
                }
                more.await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(120), waiting).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for: {awaited}; this happened: {:#?}", self.0.seen.borrow()),
        }
    }

    fn next<T>(&self, pick: impl Fn(&Seen) -> Option<T>) -> Option<T> {
        let (seen, mut read) = (self.0.seen.borrow(), self.0.read.borrow_mut());
        let (index, found) =
            seen.iter().enumerate().skip(*read).find_map(|(index, seen)| Some((index, pick(seen)?)))?;
        *read = index + 1;
        Some(found)
    }

    fn note(&self, seen: Seen) {
        self.0.seen.borrow_mut().push(seen);
        self.0.more.notify_waiters();
    }
}

pub struct Listener(Events);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<CallEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: CallEvent, _: &mut Context<Self>) {
        self.0.note(Seen::Call(event.kind));
    }
}

impl Handler<MainGatewayEvent> for Listener {
    type Result = ();

    fn handle(&mut self, event: MainGatewayEvent, _: &mut Context<Self>) {
        self.0.note(Seen::Main(event));
    }
}
