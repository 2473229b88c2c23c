//! A task and tokio's timer for each that is paced.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Instant,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::{Paced, tick};

pub(super) struct TickHandle {
    due: Rc<Due>,
    _paced: Rc<RefCell<dyn Paced>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Due {
    at: Cell<Option<Instant>>,
    changed: Notify,
}

impl TickHandle {
    pub(super) fn new(paced: Rc<RefCell<dyn Paced>>) -> Self {
        let due = Rc::<Due>::default();
        // The task does not keep alive what it paces: it goes on for a moment after it is ended.
        let task = actix_rt::spawn(run(Rc::clone(&due), Rc::downgrade(&paced)));
        Self { due, _paced: paced, task }
    }

    pub(super) fn set(&self, at: Option<Instant>) {
        if self.due.at.replace(at) != at {
            self.due.changed.notify_one();
        }
    }
}

impl Drop for TickHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(due: Rc<Due>, paced: Weak<RefCell<dyn Paced>>) {
    loop {
        let Some(at) = due.at.get() else {
            due.changed.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = due.changed.notified() => continue,
            () = actix::clock::sleep_until(at.into()) => {}
        }
        let Some(paced) = paced.upgrade() else { return };
        due.at.set(None);
        due.at.set(tick(&paced));
    }
}
