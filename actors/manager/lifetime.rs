//! The life of a manager: where it runs, what outlives a panic, and what Shutdown leaves.
//!
//! ```text
//!             Shutdown, once all calls are over
//!   Awake ──────────────────────────────────────▶ Asleep: no threads, no calls, no bridges
//!   ▲ │ ▲                                              │
//!   └─┘ └──────────────────────────────────────────────┘
//!  panic        Join, or a MainGateway that starts
//! ```
//!
//! What is said to a manager stands in a [`Mailbox`] beside the actor. After a panic another actor goes on with it, and with
//! all that the one before knew: the calls are not touched. Only the message that was being handled is lost.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, ActorState, Addr, Arbiter, ArbiterHandle, AsyncContext, Context,
    Handler, Message, ResponseFuture, StreamHandler, Supervised, System, SystemService, WeakAddr, WrapFuture,
    dev::{Envelope, EnvelopeProxy, channel},
};
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

use super::{RunOnControlArbiter, Shutdown, VoiceManager, arbiters, arbiters::Arbiters};
use crate::actors::config::{Config, ControlArbiter, StartError};

/// What a manager needs to be replaced by another.
#[derive(Default)]
pub(super) struct Lifetime {
    mailbox: Option<Mailbox>,
    address: Option<WeakAddr<VoiceManager>>,
    /// Where it was started, and is while it sleeps.
    home: Option<ArbiterHandle>,
    system: SystemOwner,
    activity: Activity,
    run: Run,
    shutdowns: Vec<ShutdownWaiter>,
    /// To be run as soon as there is a control arbiter.
    to_run: Vec<RunOnControlArbiter>,
}

/// Whose actix system the manager runs in.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum SystemOwner {
    #[default]
    Caller,
    /// Of the manager alone; it ends with it.
    Manager,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Activity {
    #[default]
    Awake,
    /// It was shut down, and waits for something to do.
    Asleep,
}

/// Whether the actor was ever run: one that was not, because the system ends, has no successor.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Run {
    #[default]
    Not,
    Begun,
}

/// Who asked for a shutdown.
struct ShutdownWaiter {
    done: oneshot::Sender<()>,
    /// Ends once the answer is on its way.
    answered: oneshot::Receiver<()>,
}

/// **VoiceManager → VoiceManager.** The last events of all calls came before this.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct CallsOver;

/// The messages to a manager. One actor takes them at a time.
#[derive(Clone)]
struct Mailbox {
    messages: Arc<Mutex<channel::AddressReceiver<VoiceManager>>>,
    /// Another actor takes them from now on.
    handed_on: Arc<AtomicBool>,
}

impl Mailbox {
    /// For the next actor; this one takes no more messages.
    fn hand_on(&self) -> Self {
        self.handed_on.store(true, Ordering::Relaxed);
        Self { messages: Arc::clone(&self.messages), handed_on: Arc::default() }
    }
}

impl Stream for Mailbox {
    type Item = Envelope<VoiceManager>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        if self.handed_on.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        match messages.poll_next_unpin(cx) {
            // Nobody has the address any more.
            Poll::Pending if !messages.connected() => Poll::Ready(None),
            polled => polled,
        }
    }
}

impl VoiceManager {
    /// Starts the manager, on the arbiter that [`Config::control_arbiter`] names.
    ///
    /// # Panics
    ///
    /// When no actix [`System`] runs on this thread; [`spawn`](Self::spawn) needs none.
    #[must_use]
    pub fn start(self) -> Addr<Self> {
        self.start_from(Arbiter::current())
    }

    /// Starts a manager in an actix system on a thread of its own, for programs that run on plain tokio: those plug in with
    /// [`PlugChannel`](super::PlugChannel) and listen with [`SubscribeChannel`](super::SubscribeChannel). The thread ends
    /// with [`Shutdown`].
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn spawn(config: Config) -> Result<Addr<Self>, StartError> {
        let (started, address) = std::sync::mpsc::channel();
        let system = move || {
            let system = System::new();
            let mut manager = Self::new(config);
            manager.lifetime.system = SystemOwner::Manager;
            system.block_on(async { started.send(manager.start()) }).ok();
            system.run()
        };
        std::thread::Builder::new()
            .name("actix-voice".into())
            .spawn(system)
            .map_err(|error| StartError::Thread(error.to_string()))?;
        address.recv().map_err(|error| StartError::Thread(error.to_string()))
    }

    fn start_from(mut self, home: ArbiterHandle) -> Addr<Self> {
        let (sender, messages) = channel::channel(MAILBOX);
        let address = Addr::new(sender);
        let messages = Arc::new(Mutex::new(messages));
        self.lifetime.mailbox = Some(Mailbox { messages, handed_on: Arc::default() });
        self.lifetime.address = Some(address.downgrade());
        self.lifetime.home = Some(home.clone());
        let control = self.start_control_arbiter();
        self.run_on(&control.unwrap_or(home));
        address
    }

    /// The arbiter of its own, if it is to have one.
    fn start_control_arbiter(&mut self) -> Option<ArbiterHandle> {
        let own = self.config.control_arbiter == ControlArbiter::Own
            && self.lifetime.system == SystemOwner::Caller
            && self.lifetime.mailbox.is_some();
        let arbiter = if own { arbiters::started()? } else { return None };
        let handle = arbiter.handle();
        self.arbiters.own_control(arbiter);
        Some(handle)
    }

    /// Goes on there. An arbiter that has ended takes the manager with it.
    fn run_on(self, arbiter: &ArbiterHandle) {
        arbiter.spawn_fn(move || self.run_here());
    }

    fn run_here(self) {
        actix_rt::spawn(Context::new().into_future(self));
    }

    /// All that the next actor has to know; nothing is left here.
    fn hand_on(&mut self) -> Self {
        let mailbox = self.lifetime.mailbox.as_ref().map(Mailbox::hand_on);
        let spent =
            Self::without_arbiters(Arc::clone(&self.config), Arc::clone(&self.tls), self.identity.clone());
        let mut next = std::mem::replace(self, spent);
        next.lifetime.mailbox = mailbox;
        next.lifetime.run = Run::Not;
        next
    }

    /// Where messages to the manager go, whichever actor there is.
    pub(super) fn address(&self, ctx: &Context<Self>) -> Addr<Self> {
        let address = self.lifetime.address.as_ref().and_then(WeakAddr::upgrade);
        address.unwrap_or_else(|| ctx.address())
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.lifetime.activity == Activity::Asleep
    }

    pub(super) fn is_shutting_down(&self) -> bool {
        !self.lifetime.shutdowns.is_empty()
    }

    /// There is something to do again.
    pub(super) fn wake(&mut self, ctx: &mut Context<Self>) {
        self.lifetime.activity = Activity::Awake;
        match self.start_control_arbiter() {
            Some(control) => {
                self.hand_on().run_on(&control);
                ctx.stop();
            }
            None => self.go_on(ctx),
        }
    }

    /// Goes on with what is left to do from before.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        std::mem::take(&mut self.lifetime.to_run).into_iter().for_each(|RunOnControlArbiter(run)| run());
        self.start_bridges(ctx);
        for (guild, backlog) in self.waiting.take() {
            self.take_up(guild, backlog, ctx);
        }
        if self.is_shutting_down() {
            self.end_calls(ctx);
        }
    }

    /// Ends all calls, to shut down once their last events were published.
    fn end_calls(&mut self, ctx: &mut Context<Self>) {
        let ended = self.end_all().into_actor(self);
        ctx.spawn(ended.map(|(), manager, ctx| manager.address(ctx).do_send(CallsOver)));
    }

    /// Falls asleep, without threads; a system of the manager's own ends.
    fn shut_down(&mut self, ctx: &mut Context<Self>) {
        self.shards.forget_bridges();
        self.lifetime.activity = Activity::Asleep;
        let (system, shutdowns) = (self.lifetime.system, std::mem::take(&mut self.lifetime.shutdowns));
        let fresh = Arbiters::new(self.config.media_arbiters, self.config.media_priority);
        let arbiters = std::mem::replace(&mut self.arbiters, fresh);
        if system == SystemOwner::Manager {
            self.lifetime = Lifetime::default();
            ctx.stop();
        } else if let (true, Some(home)) = (arbiters.has_control(), self.lifetime.home.clone()) {
            self.hand_on().run_on(&home);
            ctx.stop();
        }
        actix_rt::spawn(async move {
            for ShutdownWaiter { done, answered } in shutdowns {
                // Whoever asked may no longer wait.
                let _ = done.send(());
                let _ = answered.await;
            }
            end_threads(&arbiters, system);
        });
    }
}

/// The arbiter that this runs on is the last.
fn end_threads(arbiters: &Arbiters, system: SystemOwner) {
    arbiters.stop();
    if system == SystemOwner::Manager {
        System::current().stop();
    }
}

impl Actor for VoiceManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if ctx.state() != ActorState::Running {
            return;
        }
        self.lifetime.run = Run::Begun;
        if let Some(mailbox) = self.lifetime.mailbox.clone() {
            ctx.add_stream(mailbox);
        }
        if !self.is_asleep() {
            self.go_on(ctx);
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        let begun = self.lifetime.run == Run::Begun && self.lifetime.mailbox.is_some();
        if begun && std::thread::panicking() {
            tracing::error!("the voice manager panicked; another goes on, and the calls are not touched");
            return self.hand_on().run_here();
        }
        // Nobody has its address any more, the system ends, or it lives on elsewhere and has left nothing here.
        let (ended, system) = (self.end_all(), self.lifetime.system);
        let arbiters = std::mem::replace(&mut self.arbiters, Arbiters::none());
        let read = self.subscribers.read();
        actix_rt::spawn(async move {
            ended.await;
            read.await;
            end_threads(&arbiters, system);
        });
    }
}

impl StreamHandler<Envelope<Self>> for VoiceManager {
    fn handle(&mut self, mut message: Envelope<Self>, ctx: &mut Context<Self>) {
        message.handle(self, ctx);
    }
}

impl Supervised for VoiceManager {}

/// Any actor finds a manager that was registered: `SystemRegistry::set(VoiceManager::new(config).start())`, then
/// `VoiceManager::from_registry()`. One that was not is started with [`Config::default`]. It stays registered through
/// panics and [`Shutdown`]: the next [`Join`](super::Join) finds it ready.
impl SystemService for VoiceManager {
    fn start_service(system: &ArbiterHandle) -> Addr<Self> {
        Self::default().start_from(system.clone())
    }
}

impl Handler<Shutdown> for VoiceManager {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Shutdown, ctx: &mut Context<Self>) -> Self::Result {
        let ((done, end), (answering, answered)) = (oneshot::channel(), oneshot::channel::<()>());
        let first = !self.is_shutting_down();
        self.lifetime.shutdowns.push(ShutdownWaiter { done, answered });
        if first {
            self.end_calls(ctx);
        }
        Box::pin(async move {
            // A manager that is gone has shut down too.
            let _ = end.await;
            drop(answering);
        })
    }
}

impl Handler<CallsOver> for VoiceManager {
    type Result = ();

    fn handle(&mut self, _: CallsOver, ctx: &mut Context<Self>) {
        if !self.is_shutting_down() {
            return;
        }
        let read = self.subscribers.read().into_actor(self);
        ctx.spawn(read.map(|(), manager, ctx| manager.shut_down(ctx)));
    }
}

impl Handler<RunOnControlArbiter> for VoiceManager {
    type Result = ();

    fn handle(&mut self, run: RunOnControlArbiter, ctx: &mut Context<Self>) {
        if self.is_asleep() {
            self.lifetime.to_run.push(run);
            return self.wake(ctx);
        }
        run.0();
    }
}

/// Messages that a bot may send before it has to wait, as for any actor.
const MAILBOX: usize = 16;
