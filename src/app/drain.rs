//! When the process stops, and how long it may take.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Recipient;
use futures::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use veltrix_actors::{ExitReason, GoneSinks, Registry, Stop};

use super::reload::ReloadDesk;
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
    /// A sink is gone for good, for this reason, and what could be drained is.
    SinkGone(String),
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

    /// Waits for the order to end a drain at once: a signal that is none of the repeats of the one that came before.
    async fn interrupt(mut self, is_first: bool) {
        // Ctrl-C of a finite run that is nearly over still gets its drain; only then does the next one interrupt.
        if is_first {
            self.next().await;
        }
        let first = Instant::now();
        loop {
            self.next().await;
            if first.elapsed() >= REPEAT_GRACE {
                return;
            }
        }
    }
}

/// Which sinks are gone for good, of those that the process runs.
#[derive(Clone)]
pub(super) struct Gone {
    sinks: watch::Receiver<GoneSinks>,
    desk: Arc<ReloadDesk>,
}

impl Gone {
    pub(super) fn of(registry: &Registry, desk: &Arc<ReloadDesk>) -> Self {
        Self {
            sinks: registry.gone_sinks(),
            desk: desk.clone(),
        }
    }

    /// Why the first of them is gone, if one is.
    fn reason(&self) -> Option<String> {
        let gone = self.sinks.borrow();
        let first = gone.first_key_value();
        first.map(|(name, reason)| format!("sink `{name}`: {reason}"))
    }

    /// Waits until one is gone.
    async fn any(self) -> String {
        self.wait_for(|gone| !gone.is_empty()).await
    }

    /// Waits until they all are, so that nothing can be delivered any more.
    async fn all(self) -> String {
        let desk = self.desk.clone();
        self.wait_for(|gone| {
            let sinks = &desk.applied().config.sinks;
            !gone.is_empty() && sinks.iter().all(|sink| gone.contains_key(&sink.name))
        })
        .await
    }

    async fn wait_for(mut self, is_so: impl FnMut(&GoneSinks) -> bool) -> String {
        let is_told = self.sinks.wait_for(is_so).await.is_ok();
        match self.reason() {
            Some(reason) if is_told => reason,
            // The registry has ended, and with it whatever could still be gone.
            _ => futures::future::pending().await,
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
    /// Sinks are gone for good.
    pub(super) gone: Gone,
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
        gone,
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
    let mut done = pin!(done.fuse());
    let exhausted = async {
        match exhausted.await {
            Ok(reason) => reason,
            Err(_) => futures::future::pending().await,
        }
    };
    let mut exhausted = pin!(exhausted.fuse());
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
        reason = gone.clone().any().fuse() => {
            tracing::error!(reason, ?timeout, "draining what can be drained");
            true
        }
        signal = signals.next().fuse() => {
            tracing::info!(signal, ?timeout, "draining");
            true
        }
    };
    health.drain();
    stop_root(&stop);
    let deadline = async {
        if !is_limited {
            gone.clone().any().await;
        }
        tokio::time::sleep(timeout).await;
    };
    let drained = futures::select_biased! {
        reason = exited => Drained::Stopped(reason),
        reason = gone.clone().all().fuse() => Drained::SinkGone(reason),
        () = pin!(deadline.fuse()) => Drained::TimedOut(timeout),
        () = signals.interrupt(!is_limited).fuse() => Drained::Interrupted,
    };
    match (gave_up, gone.reason(), drained) {
        (_, _, Drained::Interrupted) => Drained::Interrupted,
        (Some(reason), _, _) => Drained::Stopped(ExitReason::Failed(reason)),
        (None, Some(reason), Drained::Stopped(ExitReason::Normal) | Drained::TimedOut(_)) => {
            Drained::SinkGone(reason)
        }
        (_, _, drained) => drained,
    }
}
