//! The threads of the tree and who lives on which.
//!
//! Supervisors, the router and everything that never blocks share the main thread; lanes have worker threads that
//! nothing else uses; whatever blocks on files or pipes has a thread of its own.

use std::sync::Arc;

use actix_rt::{Arbiter, ArbiterHandle};
use veltrix_actors::{LeakedThreads, Worker};

use crate::config::Workers;

/// Hands out threads.
pub(super) struct Arbiters {
    shared: Vec<Arc<Worker>>,
    next: usize,
    leaked: Arc<LeakedThreads>,
}

impl Arbiters {
    pub(super) fn new(workers: Workers) -> Self {
        let count = match workers {
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Workers::Count(count) => count,
        };
        let leaked = Arc::default();
        Self {
            shared: (0..count).map(|_| Worker::start(&leaked)).collect(),
            next: 0,
            leaked,
        }
    }

    /// Threads that hang.
    pub(super) fn leaked(&self) -> &Arc<LeakedThreads> {
        &self.leaked
    }

    /// The main thread's arbiter.
    pub(super) fn core() -> ArbiterHandle {
        Arbiter::current()
    }

    /// The threads for the lanes of one handler: in turn from those that all share, or one of its own.
    pub(super) fn for_lanes(&mut self, count: usize, is_isolated: bool) -> Vec<Arc<Worker>> {
        if is_isolated {
            return vec![Worker::start(&self.leaked); count];
        }
        let first = self.next;
        self.next += count;
        for worker in &mut self.shared {
            if worker.is_given_up() {
                *worker = worker.another();
            }
        }
        let numbers = first..first + count;
        numbers
            .map(|number| self.shared[number % self.shared.len()].clone())
            .collect()
    }

    /// A new thread for what blocks, the main thread for what does not.
    pub(super) fn for_io(is_blocking: bool) -> ArbiterHandle {
        if is_blocking {
            Arbiter::new().handle()
        } else {
            Self::core()
        }
    }
}
