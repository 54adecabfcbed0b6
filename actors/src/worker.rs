//! A thread for lanes, which can be given up when a handler hangs on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_rt::{Arbiter, ArbiterHandle};

/// Threads that were given up and have not ended.
#[derive(Debug, Default)]
pub struct LeakedThreads(AtomicUsize);

impl LeakedThreads {
    /// How many there are now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// One thread for lanes.
#[derive(Debug)]
pub struct Worker {
    arbiter: ArbiterHandle,
    leaked: Arc<LeakedThreads>,
    // Shared with the thread, which looks at it when it ends.
    is_given_up: Arc<AtomicBool>,
}

impl Worker {
    /// Starts a thread; `leaked` counts it if it is given up.
    pub fn start(leaked: &Arc<LeakedThreads>) -> Arc<Self> {
        let arbiter = Arbiter::new().handle();
        let is_given_up = Arc::new(AtomicBool::new(false));
        let alive = Alive {
            leaked: Arc::clone(leaked),
            is_given_up: Arc::clone(&is_given_up),
        };
        // Dropped with the thread's other tasks, at its end.
        let lives = async move {
            let _alive = alive;
            futures::future::pending::<()>().await;
        };
        if !arbiter.spawn(lives) {
            tracing::error!("a thread for lanes ended at once");
        }
        Arc::new(Self {
            arbiter,
            leaked: Arc::clone(leaked),
            is_given_up,
        })
    }

    pub(crate) fn arbiter(&self) -> &ArbiterHandle {
        &self.arbiter
    }

    /// Has the thread end, with all actors on it.
    pub fn stop(&self) {
        self.arbiter.stop();
    }

    /// Has the thread end once the call that it hangs in returns, if ever; it counts as leaked until then.
    pub(crate) fn give_up(&self) {
        if !self.is_given_up.swap(true, Ordering::AcqRel) {
            self.leaked.0.fetch_add(1, Ordering::AcqRel);
            self.arbiter.stop();
        }
    }

    /// Whether it was given up: nobody is to be started on it.
    pub fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    /// A new thread in the place of this one.
    pub fn another(&self) -> Arc<Self> {
        Self::start(&self.leaked)
    }
}

struct Alive {
    leaked: Arc<LeakedThreads>,
    is_given_up: Arc<AtomicBool>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.is_given_up.load(Ordering::Acquire) {
            self.leaked.0.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
