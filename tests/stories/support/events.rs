//! The events that a bot received, in order, and waiting for the next of a kind.

use std::{cell::RefCell, rc::Rc, time::Duration};

use actix::{Actor, Addr, Context, Handler};
use actix_voice::actors::{CallEvent, CallEventKind, main_gateway::MainGatewayEvent};
use tokio::sync::Notify;

/// The events that a bot received, oldest first.
#[derive(Clone, Default)]
pub struct EventLog(Rc<Entries>);

#[derive(Default)]
struct Entries {
    events: RefCell<Vec<BotEvent>>,
    /// How many events a story has waited for or passed over.
    read: RefCell<usize>,
    added: Notify,
}

/// An event of a call or of the main gateway.
#[derive(Clone, Debug)]
pub enum BotEvent {
    Call(CallEventKind),
    MainGateway(MainGatewayEvent),
}

impl EventLog {
    /// An actor that records here every event that it receives.
    pub fn recorder(&self) -> Addr<EventRecorder> {
        EventRecorder(self.clone()).start()
    }

    /// All events.
    pub fn all(&self) -> Vec<BotEvent> {
        self.0.events.borrow().clone()
    }

    /// All events of calls.
    pub fn call_events(&self) -> Vec<CallEventKind> {
        let of_calls = |event: &BotEvent| match event {
            BotEvent::Call(event) => Some(event.clone()),
            BotEvent::MainGateway(_) => None,
        };
        self.0.events.borrow().iter().filter_map(of_calls).collect()
    }

    /// Waits up to two virtual minutes for an event after the last that was waited for.
    pub async fn next<T>(&self, awaited: &str, pick: impl Fn(&BotEvent) -> Option<T>) -> T {
        self.until(awaited, || self.take_next(&pick)).await
    }

    /// Waits up to two virtual minutes until the events so far are enough.
    pub async fn until<T>(&self, awaited: &str, enough: impl Fn() -> Option<T>) -> T {
        let waiting = async {
            loop {
                let added = self.0.added.notified();
                if let Some(found) = enough() {
                    return found;
                }
                added.await;
            }
        };
        match tokio::time::timeout(EVENT_TIMEOUT, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for: {awaited}; this happened: {:#?}", self.0.events.borrow()),
        }
    }

    fn take_next<T>(&self, pick: impl Fn(&BotEvent) -> Option<T>) -> Option<T> {
        let (events, mut read) = (self.0.events.borrow(), self.0.read.borrow_mut());
        let mut unread = events.iter().enumerate().skip(*read);
        let (index, found) = unread.find_map(|(index, event)| Some((index, pick(event)?)))?;
        *read = index + 1;
        Some(found)
    }

    fn record(&self, event: BotEvent) {
        self.0.events.borrow_mut().push(event);
        self.0.added.notify_waiters();
    }
}

/// The actor that records events in an [`EventLog`].
pub struct EventRecorder(EventLog);

impl Actor for EventRecorder {
    type Context = Context<Self>;
}

impl Handler<CallEvent> for EventRecorder {
    type Result = ();

    fn handle(&mut self, event: CallEvent, _: &mut Context<Self>) {
        self.0.record(BotEvent::Call(event.kind));
    }
}

impl Handler<MainGatewayEvent> for EventRecorder {
    type Result = ();

    fn handle(&mut self, event: MainGatewayEvent, _: &mut Context<Self>) {
        self.0.record(BotEvent::MainGateway(event));
    }
}

/// How long a story waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(120);
