//! A run of the real tree in this process until all is through: what `veltrix test` tests. No signals, no admin server, no lock.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::System;
use veltrix_actors::{ExitReason, Registry, Watchdog};

use super::tree::Tree;
use crate::config::Config;

/// The longest that one run may take; what is not through then hangs.
const REHEARSAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the config, whose sources end, until every event is finished. The children of a lane that hangs are left to the
/// caller's `KillOnExit`: a process has one of those, at its end.
///
/// # Errors
/// Why it did not come to that.
pub(crate) fn rehearse(config: &Config) -> Result<(), String> {
    let system = System::new();
    let result = system.block_on(async {
        let run = tokio::time::timeout(REHEARSAL_TIMEOUT, run(config));
        let too_long = || format!("not through after {REHEARSAL_TIMEOUT:?}");
        run.await.map_err(|_| too_long()).and_then(|result| result)
    });
    // ends the threads of lanes, so that many runs in one process do not pile them up
    System::current().stop();
    result.and_then(|()| system.run().map_err(|error| error.to_string()))
}

async fn run(config: &Config) -> Result<(), String> {
    let registry = Arc::new(Registry::default());
    let mut tree = Tree::new(config, registry.clone());
    let watchdog = Watchdog::start(tree.watch.clone(), tree.leaked(), |reason| {
        tracing::error!(reason, "too many threads hang");
    });
    let _watchdog = watchdog.map_err(|error| format!("cannot start the watchdog: {error}"))?;
    let (stop, watch) = tree.start(config);
    let mut exited = watch.exited;
    tokio::select! {
        // the sources are done: the drain begins
        done = watch.done => if done.is_ok() { super::stop_root(&stop) },
        reason = &mut exited => return ended(reason.unwrap_or(ExitReason::Panicked), &registry),
    }
    ended(exited.await.unwrap_or(ExitReason::Panicked), &registry)
}

fn ended(reason: ExitReason, registry: &Registry) -> Result<(), String> {
    match reason {
        ExitReason::Normal if registry.in_flight.get() == 0 && registry.is_balanced() => Ok(()),
        ExitReason::Normal => Err("events were lost: a ledger does not balance".to_owned()),
        ExitReason::Failed(reason) => Err(format!("the root supervisor gave up: {reason}")),
        reason => Err(format!("the root supervisor {reason}")),
    }
}
