//! The threads of the tree and who lives on which.
//!
//! Supervisors, the router and everything that never blocks share the main thread; lanes have worker threads that
//! nothing else uses; whatever blocks on files or pipes has a thread of its own.

use actix_rt::{Arbiter, ArbiterHandle};

use crate::config::Workers;

/// Hands out arbiters.
pub(super) struct Arbiters {
    workers: Vec<ArbiterHandle>,
    next: usize,
}

impl Arbiters {
    pub(super) fn new(workers: Workers) -> Self {
        let count = match workers {
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Workers::Count(count) => count,
        };
        Self {
            workers: (0..count).map(|_| Arbiter::new().handle()).collect(),
            next: 0,
        }
    }

    /// The main thread's arbiter.
    pub(super) fn core() -> ArbiterHandle {
        Arbiter::current()
    }

    /// The next worker in turn.
    pub(super) fn worker(&mut self) -> ArbiterHandle {
        let worker = self.workers[self.next % self.workers.len()].clone();
        self.next += 1;
        worker
    }

    /// A new thread.
    pub(super) fn own() -> ArbiterHandle {
        Arbiter::new().handle()
    }

    /// A new thread for what blocks, the main thread for what does not.
    pub(super) fn for_io(is_blocking: bool) -> ArbiterHandle {
        if is_blocking {
            Self::own()
        } else {
            Self::core()
        }
    }
}
