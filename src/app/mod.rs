//! From a validated config to a running process: the only place that names all roles.

mod arbiters;
mod branches;
mod data_dir;
mod dead_letters;
mod drain;
mod faults;
mod journal;
mod orphans;
mod overflow;
mod rehearsal;
mod reload;
mod sources;
mod status_line;
mod summary;
mod translate;
mod tree;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use actix_rt::System;
use tokio::sync::oneshot;
use veltrix_actors::{DurabilityKind, ExitReason, Registry, RootWatch, Stop, Watchdog, mailbox};

pub(crate) use data_dir::lock as lock_data_dir;

use crate::admin::{self, Health, Observed};
use crate::config::{Config, SourceConfig};
use crate::handlers::exec::KillOnExit;
use crate::ledgers::LedgerBook;
pub(crate) use rehearsal::rehearse;

pub(crate) use reload::{Answer, Load, Refusal, ReloadDesk, Watched};

use drain::{Drained, Gone, Reasons, StopSignals};
use reload::{Hangups, Wiring};
use tree::Tree;

pub(crate) use data_dir::lock_to_read;
pub(crate) use journal::journal_folder;
pub(crate) use overflow::overflow_folder;

/// How a run ended; the exit code says it to whoever started the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that was accepted is finished.
    Drained,
    /// A failure at run time, or the drain's deadline passed with work undone.
    Failed(String),
    /// The root supervisor gave up.
    GaveUp(String),
}

impl Outcome {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::Failed(_) => 1,
            Self::GaveUp(_) => 70,
        }
    }
}

/// Runs the config until its sources are done or the process is told to stop, and drains.
pub(crate) fn run(config: Config, load: Arc<dyn Load>) -> Outcome {
    // The lanes that are left in an unfinished run, or hang, cannot end their own.
    let _children = KillOnExit;
    let outcome = match data_dir::lock(&config.service.data_dir) {
        Ok(lock) => {
            let system = System::new();
            let outcome = system.block_on(supervise(config, load));
            if outcome != Outcome::Drained {
                // Its actors still hold events, and would report as lost what was already told as unfinished.
                std::mem::forget(system);
            }
            drop(lock);
            outcome
        }
        Err(error) => Outcome::Failed(error.to_string()),
    };
    match &outcome {
        Outcome::Drained => tracing::info!("drained"),
        Outcome::Failed(reason) => tracing::error!(reason, "failed"),
        Outcome::GaveUp(reason) => tracing::error!(reason, "the root supervisor gave up"),
    }
    outcome
}

async fn supervise(mut config: Config, load: Arc<dyn Load>) -> Outcome {
    let started = Instant::now();
    let signals = match StopSignals::listen() {
        Ok(signals) => signals,
        Err(error) => return Outcome::Failed(format!("cannot listen for signals: {error}")),
    };
    let hangups = match Hangups::listen() {
        Ok(hangups) => hangups,
        Err(error) => return Outcome::Failed(format!("cannot listen for SIGHUP: {error}")),
    };
    let registry = Arc::new(Registry::default());
    let health = Arc::new(Health::default());
    if let Err(error) = faults::apply(&mut config, &registry, faults::Log::New) {
        return Outcome::Failed(error);
    }
    orphans::warn(&config);
    registry.set_config_version(&config.version);
    let config = Arc::new(config);
    let reload = ReloadDesk::new(&config);
    let mut tree = Tree::new(&config, registry.clone());
    let ledgers = LedgerBook::open(&config.service.data_dir, registry.clone());
    let observed = tree.observed(&config, &ledgers, &reload);
    if let Err(error) = serve_admin(&config, observed, &health) {
        return Outcome::Failed(error);
    }
    actix_rt::spawn(ledgers.clone().keep());
    let (exhausted, is_exhausted) = oneshot::channel();
    let watchdog = Watchdog::start(tree.watch.clone(), tree.leaked(), move |reason| {
        if exhausted.send(reason).is_err() {
            tracing::debug!("the process is stopping already");
        }
    });
    let _watchdog = match watchdog {
        Ok(watchdog) => watchdog,
        Err(error) => return Outcome::Failed(format!("cannot start the watchdog: {error}")),
    };
    let status = status_line::show(registry.clone());
    let (stop, watch) = tree.start(&config);
    let RootWatch {
        started: up,
        done,
        exited,
    } = watch;
    actix_rt::spawn({
        let (health, desk) = (health.clone(), reload.clone());
        let wiring = Wiring::new(tree, config.clone());
        async move {
            if up.await.is_ok() {
                health.up();
                tracing::info!(after = ?started.elapsed(), "running");
                reload::follow(wiring, load, desk, health, hangups).await;
            }
        }
    });
    let reasons = Reasons {
        done,
        exited,
        exhausted: is_exhausted,
        gone: Gone::of(&registry, &reload),
    };
    let timeout = config.service.drain_timeout;
    let drained = drain::wait(signals, stop, reasons, timeout, &health).await;
    status.finish();
    ledgers.close();
    summary::log(&registry);
    let undone = Undone::of(&reload.applied().config, &registry);
    outcome(drained, undone, registry.is_balanced())
}

/// Starts the admin server, if it is wanted.
fn serve_admin(config: &Config, observed: Observed, health: &Arc<Health>) -> Result<(), String> {
    let Some(settings) = &config.service.admin else {
        return Ok(());
    };
    let listen = settings.listen;
    let served = admin::serve(listen, observed, health.clone());
    served.map_err(|error| format!("service.admin.listen: cannot listen on {listen}: {error}"))
}

/// What is left of accepted events.
struct Undone {
    /// Kept on disk, or where they came from, for the next start.
    kept: i64,
    /// Of sources with `durability: none`.
    lost: i64,
}

impl Undone {
    fn of(config: &Config, registry: &Registry) -> Self {
        let is_kept_nowhere = |source: &&SourceConfig| source.durability == DurabilityKind::None;
        let sources = config.sources.iter().filter(is_kept_nowhere);
        let lost: i64 = sources
            .map(|source| registry.source(&source.name).in_flight.get())
            .sum();
        Self {
            kept: registry.in_flight.get() - lost,
            lost,
        }
    }

    fn is_nothing(&self) -> bool {
        self.kept + self.lost == 0
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kept, lost } = self;
        if self.is_nothing() {
            return formatter.write_str("of the accepted events none is unfinished");
        }
        write!(formatter, "{} events unfinished, ", kept + lost)?;
        match (kept, lost) {
            (0, _) => write!(formatter, "none of them kept (durability: none)"),
            (_, 0) => write!(formatter, "all of them kept for the next start"),
            _ => write!(
                formatter,
                "{kept} of them kept for the next start, {lost} not (durability: none)"
            ),
        }
    }
}

fn outcome(drained: Drained, undone: Undone, is_balanced: bool) -> Outcome {
    match drained {
        Drained::Stopped(ExitReason::Normal) if !undone.is_nothing() => Outcome::Failed(format!(
            "the sources stopped without their events: {undone}"
        )),
        Drained::Stopped(ExitReason::Normal) if is_balanced => Outcome::Drained,
        Drained::Stopped(ExitReason::Normal) => Outcome::Failed(
            "events were lost: a ledger does not balance, see the summary".to_owned(),
        ),
        Drained::Stopped(ExitReason::Failed(reason)) => Outcome::GaveUp(reason),
        Drained::Stopped(reason) => Outcome::GaveUp(format!("the root supervisor {reason}")),
        Drained::TimedOut(after) => {
            Outcome::Failed(format!("the drain was not done after {after:?}: {undone}"))
        }
        Drained::SinkGone(reason) => Outcome::Failed(format!("{reason}: {undone}")),
        Drained::Interrupted => {
            Outcome::Failed(format!("interrupted by a second signal: {undone}"))
        }
    }
}

/// Tells the tree's root to stop.
fn stop_root(stop: &actix::Recipient<Stop>) {
    mailbox::control(stop, Stop::Drain);
}
