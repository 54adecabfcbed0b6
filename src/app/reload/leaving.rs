//! Components that the config has no more: each goes once what was sent to it is finished.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use veltrix_actors::{Stop, Successor, Target};

use super::super::branches::Lanes;
use super::super::tree::Tree;

/// Time between two looks at what a component still has to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Who is on the way out, by path.
#[derive(Default)]
pub(super) struct Leaving {
    ways: HashMap<String, Way>,
    /// Handlers among them: what they still emit is their sinks'.
    handlers: Rc<Cell<usize>>,
}

struct Way {
    task: JoinHandle<()>,
    order: Rc<RefCell<Order>>,
    /// A sink's place.
    target: Option<Target>,
}

/// What one on its way out is to do.
enum Order {
    /// Finish what was sent to it.
    Finish,
    /// A handler: leave the rest to the one that has come in its place.
    HandOver(Successor),
    /// A sink: stay.
    Stay,
    /// It is too late for anything else.
    Gone,
}

impl Leaving {
    /// The router does not know the handler any more.
    pub(super) fn handler(&mut self, tree: &Tree, name: &str, lanes: Lanes) {
        let path = format!("handlers/{name}");
        let (place, registry) = (tree.places.handlers.clone(), tree.registry.clone());
        let (watch, id) = (tree.watch.clone(), name.to_owned());
        let nobody = Successor::DeadLetters {
            inlet: tree.dead_letters.clone(),
            branch: format!("handler.{name}").into(),
            sink: None,
        };
        lanes.slots.iter().for_each(|slot| slot.leave());
        let count = self.handlers.clone();
        count.set(count.get() + 1);
        self.begin(path.clone(), |order| async move {
            let successor = loop {
                if let Order::HandOver(successor) = &*order.borrow() {
                    break Some(successor.clone());
                }
                if lanes.slots.iter().all(|slot| slot.is_idle()) {
                    break None;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            };
            *order.borrow_mut() = Order::Gone;
            let how = match successor {
                Some(_) => Stop::HandOver,
                None => Stop::Drain,
            };
            place.remove(&id, how).await;
            lanes.leave_hung();
            for slot in &lanes.slots {
                watch.remove_lane(slot);
            }
            lanes.hand_over(&successor.unwrap_or(nobody));
            lanes.stop_threads();
            registry.actors.forget(&path);
            count.set(count.get() - 1);
            tracing::info!(handler = id, "the handler is gone");
        });
    }

    /// No handler sends to the sink any more.
    pub(super) fn sink(&mut self, tree: &Tree, name: &str, target: Target) {
        let (places, registry) = (tree.places.clone(), tree.registry.clone());
        let (watch, stats) = (tree.watch.clone(), tree.registry.sink(name));
        let (id, handlers) = (name.to_owned(), self.handlers.clone());
        let thread = tree.threads.get(&format!("sinks/{name}")).cloned();
        let nobody = Successor::DeadLetters {
            inlet: tree.dead_letters.clone(),
            branch: format!("sink.{name}").into(),
            sink: Some(stats.clone()),
        };
        let place = target.clone();
        let path = format!("sinks/{name}");
        self.begin(path.clone(), |order| async move {
            loop {
                if matches!(*order.borrow(), Order::Stay) {
                    return;
                }
                let is_idle = stats.waiting.get() == 0 && target.inlet.unsettled() == 0;
                if handlers.get() == 0 && is_idle {
                    break;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            *order.borrow_mut() = Order::Gone;
            places.sinks.remove(&id, Stop::Drain).await;
            target.inlet.hand_over(nobody);
            places.overflow.remove(&id, Stop::Drain).await;
            watch.remove_sink(&id);
            if let Some(thread) = thread {
                thread.stop();
            }
            registry.actors.forget(&format!("sinks/{id}"));
            registry.actors.forget(&format!("overflow/{id}"));
            tracing::info!(sink = id, "the sink is gone");
        });
        if let Some(way) = self.ways.get_mut(&path) {
            way.target = Some(place);
        }
    }

    /// The source takes in no more; its events are finished first.
    pub(super) fn source(&mut self, tree: &Tree, name: &str, how: Stop) {
        let (place, registry) = (tree.places.sources.clone(), tree.registry.clone());
        let (path, id) = (format!("sources/{name}"), name.to_owned());
        let thread = tree.threads.get(&path).cloned();
        self.begin(path.clone(), |order| async move {
            *order.borrow_mut() = Order::Gone;
            place.remove(&id, how).await;
            registry.remove_source(&id);
            if let Some(thread) = thread {
                thread.stop();
            }
            registry.actors.forget(&path);
            tracing::info!(source = id, "the source is gone");
        });
    }

    /// A handler of that name comes again, and gets what the leaving one has left.
    pub(super) async fn take_over(&mut self, handler: &str, successor: Successor) {
        let path = format!("handlers/{handler}");
        if let Some(way) = self.ways.get(&path) {
            let mut order = way.order.borrow_mut();
            if matches!(*order, Order::Finish) {
                *order = Order::HandOver(successor);
            }
        }
        self.wait_for(&path).await;
    }

    /// A sink of that name comes again. If it is on its way out it stays, at its place.
    pub(super) async fn keep_sink(&mut self, sink: &str) -> Option<Target> {
        let path = format!("sinks/{sink}");
        let mut kept = None;
        if let Some(way) = self.ways.get_mut(&path) {
            let mut order = way.order.borrow_mut();
            if matches!(*order, Order::Finish) {
                *order = Order::Stay;
                kept = way.target.take();
            }
        }
        self.wait_for(&path).await;
        kept
    }

    /// Waits until the component is gone.
    pub(super) async fn wait_for(&mut self, path: &str) {
        if let Some(way) = self.ways.remove(path)
            && let Err(error) = way.task.await
        {
            tracing::error!(path, %error, "its way out ended early");
        }
    }

    fn begin<F>(&mut self, path: String, way_out: impl FnOnce(Rc<RefCell<Order>>) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.ways.retain(|_, way| !way.task.is_finished());
        let order = Rc::new(RefCell::new(Order::Finish));
        let task = actix_rt::spawn(way_out(order.clone()));
        let target = None;
        self.ways.insert(
            path,
            Way {
                task,
                order,
                target,
            },
        );
    }
}
