//! Several events at a time, for a component that waits for others: those of one subject follow one another, as in
//! Veltrix's lanes.

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;
use veltrix_actors::Intake;

use crate::outlet::Outlet;
use crate::work::{LANES, WorkOptions};
use crate::worker::Worker;

/// Events that may wait for one lane.
const WAITING_EVENTS: usize = 1_024;

pub(crate) struct Lanes {
    lanes: Vec<mpsc::Sender<(Rc<Intake>, usize)>>,
    shared: Rc<Shared>,
}

/// What lanes and the task that writes have in common, on one thread.
#[derive(Default)]
struct Shared {
    /// Results that are not sent.
    text: RefCell<String>,
    has_text: Notify,
    unfinished: Cell<usize>,
    is_finished: Notify,
}

impl Lanes {
    pub(crate) fn new(options: &WorkOptions, outlet: Outlet) -> Self {
        let shared = Rc::new(Shared::default());
        spawn_local(write(shared.clone(), outlet));
        let lanes = (0..LANES).map(|_| {
            let (lane, events) = mpsc::channel(WAITING_EVENTS);
            spawn_local(work(shared.clone(), Worker::new(options), events));
            lane
        });
        Self {
            lanes: lanes.collect(),
            shared,
        }
    }

    /// Gives an event to its lane, once there is room.
    pub(crate) async fn handle(&self, intake: &Rc<Intake>, index: usize) {
        let event = intake.event(index);
        let mut hasher = DefaultHasher::new();
        event
            .raw_subject()
            .unwrap_or(event.raw_source())
            .hash(&mut hasher);
        let lane = hasher.finish() as usize % LANES;
        self.shared.unfinished.set(self.shared.unfinished.get() + 1);
        let sent = self.lanes[lane].send((intake.clone(), index)).await;
        sent.expect("a lane ends with its component");
    }

    /// Waits until the results of all events are sent.
    pub(crate) async fn finish(&self) {
        while self.shared.unfinished.get() > 0 {
            self.shared.is_finished.notified().await;
        }
    }
}

async fn work(
    shared: Rc<Shared>,
    mut worker: Worker,
    mut events: mpsc::Receiver<(Rc<Intake>, usize)>,
) {
    while let Some((intake, index)) = events.recv().await {
        let event = intake.event(index);
        if worker.handle(&event).await.is_some() {
            worker.write_result(&event, &mut shared.text.borrow_mut());
        }
        shared.has_text.notify_one();
        shared.unfinished.set(shared.unfinished.get() - 1);
    }
}

async fn write(shared: Rc<Shared>, mut outlet: Outlet) {
    loop {
        shared.has_text.notified().await;
        std::mem::swap(outlet.text(), &mut shared.text.borrow_mut());
        outlet.flush().await;
        if shared.unfinished.get() == 0 {
            outlet.finish().await;
            shared.is_finished.notify_one();
        }
    }
}
