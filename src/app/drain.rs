//! When the process stops, and how long it may take.

use std::io;
use std::time::{Duration, Instant};

use actix::Recipient;
use futures::FutureExt;
use futures::future::FusedFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use veltrix_actors::{ExitReason, Stop};

use super::stop_root;
use crate::admin::Health;

/// Signals that follow the one that starts a drain this closely belong to it: `timeout` and shells signal a process and
/// then its group, so that one order to stop arrives twice.
const REPEAT_GRACE: Duration = Duration::from_millis(250);

/// How the drain ended.
pub(super) enum Drained {
    /// The root has stopped.
    Stopped(ExitReason),
    /// The deadline passed.
    TimedOut(Duration),
    /// A second signal came.
    Interrupted,
}

/// SIGTERM and SIGINT.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        futures::select_biased! {
            _ = self.terminate.recv().fuse() => "SIGTERM",
            _ = self.interrupt.recv().fuse() => "SIGINT",
        }
    }

    /// Waits for a signal that is none of the first one's repeats.
    async fn next_order(&mut self, first: Instant) {
        loop {
            self.next().await;
            if first.elapsed() >= REPEAT_GRACE {
                return;
            }
        }
    }
}

/// What ends a run, other than a signal.
pub(super) struct Reasons {
    /// All sources have ended by themselves.
    pub(super) done: oneshot::Receiver<()>,
    /// The root has ended.
    pub(super) exited: oneshot::Receiver<ExitReason>,
    /// Too many threads hang.
    pub(super) exhausted: oneshot::Receiver<String>,
}

/// Waits for a reason to stop, stops the tree, and waits until it has.
pub(super) async fn wait(
    mut signals: StopSignals,
    stop: Recipient<Stop>,
    reasons: Reasons,
    timeout: Duration,
    health: &Health,
) -> Drained {
    let Reasons {
        done,
        exited,
        exhausted,
    } = reasons;
    // A root that is gone without a word can only have been dropped in a panic.
    let mut exited = exited
        .map(|reason| reason.unwrap_or(ExitReason::Panicked))
        .fuse();
    // A root that gave up is not done; its end tells of that.
    let done = async {
        if done.await.is_err() {
            futures::future::pending::<()>().await;
        }
    };
    let mut done = std::pin::pin!(done.fuse());
    let exhausted = async {
        match exhausted.await {
            Ok(reason) => reason,
            Err(_) => futures::future::pending().await,
        }
    };
    let mut exhausted = std::pin::pin!(exhausted.fuse());
    let mut gave_up = None;
    let is_limited = futures::select_biased! {
        () = done => {
            tracing::info!("all sources are done");
            false
        }
        reason = exited => return Drained::Stopped(reason),
        reason = exhausted => {
            tracing::error!(reason, ?timeout, "draining what can be drained");
            gave_up = Some(reason);
            true
        }
        signal = signals.next().fuse() => {
            tracing::info!(signal, ?timeout, "draining");
            true
        }
    };
    let ordered_at = Instant::now();
    health.drain();
    stop_root(&stop);
    let mut deadline = match is_limited {
        true => tokio::time::sleep(timeout).boxed_local().fuse(),
        false => futures::future::pending().boxed_local().fuse(),
    };
    let is_interrupted = async {
        // Ctrl-C of a finite run that is nearly over still gets its drain; only then does the next one interrupt.
        let mut first = ordered_at;
        if !is_limited {
            signals.next().await;
            first = Instant::now();
        }
        signals.next_order(first).await;
    };
    let mut is_interrupted = std::pin::pin!(is_interrupted.fuse());
    debug_assert!(!is_interrupted.is_terminated(), "it has not been polled");
    let drained = futures::select_biased! {
        reason = exited => Drained::Stopped(reason),
        () = deadline => Drained::TimedOut(timeout),
        () = is_interrupted => Drained::Interrupted,
    };
    match (gave_up, drained) {
        (Some(reason), Drained::Stopped(_) | Drained::TimedOut(_)) => {
            Drained::Stopped(ExitReason::Failed(reason))
        }
        (_, drained) => drained,
    }
}
