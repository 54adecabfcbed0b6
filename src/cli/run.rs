//! `veltrix run`: the process, and how its config is read, at the start and again.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use super::{BAD_CONFIG, ConfigArgs, print};
use crate::app::{self, Load, Watched};
use crate::components::Components;
use crate::config::{Config, Place, Problems, Severity};
use crate::telemetry::LogFormat;

const FAULTS_REFUSED: &str = "faults are configured; pass --allow-faults to run with them";

/// What the process was started with.
pub(super) struct Start {
    pub(super) config: ConfigArgs,
    pub(super) allow_faults: bool,
    // Taken once, by whoever watches.
    pub(super) watched: Mutex<Option<Watched>>,
    /// What is wrong with the config is told as everything else on standard error is.
    pub(super) log_format: LogFormat,
    pub(super) components: Arc<Components>,
}

impl Load for Start {
    fn load(&self) -> Result<(Config, Problems), Problems> {
        super::load(&self.config, &self.components, Place::Here)
    }

    fn allows_faults(&self) -> bool {
        self.allow_faults
    }

    fn watched(&self) -> Option<Watched> {
        let watched = self.watched.lock();
        watched.unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) fn run(start: Start) -> ExitCode {
    match start.load() {
        Ok((config, _)) if config.faults.is_some() && !start.allow_faults => {
            match start.log_format {
                LogFormat::Text => print(&mut io::stderr(), &format!("error: {FAULTS_REFUSED}\n")),
                LogFormat::Json => tracing::error!("{FAULTS_REFUSED}"),
            }
            ExitCode::from(BAD_CONFIG)
        }
        Ok((config, warnings)) => {
            tell(&warnings, start.log_format);
            ExitCode::from(app::run(config, Arc::new(start)).exit_code())
        }
        Err(problems) => {
            tell(&problems, start.log_format);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

/// As text with the place in the file marked, or each as a line of the log.
fn tell(problems: &Problems, format: LogFormat) {
    if format == LogFormat::Text {
        return print(&mut io::stderr(), &problems.to_string());
    }
    for problem in problems.iter() {
        let place = problem.origin.as_ref().map(ToString::to_string);
        let (place, help) = (place.as_deref(), problem.help.as_deref());
        match problem.severity {
            Severity::Error => tracing::error!(place, help, "{}", problem.message),
            Severity::Warning => tracing::warn!(place, help, "{}", problem.message),
        }
    }
    match problems.omitted() {
        0 => {}
        omitted if problems.has_errors() => tracing::error!("and {omitted} more problems"),
        omitted => tracing::warn!("and {omitted} more problems"),
    }
}
