//! `veltrix run`: the process, and how its config is read, at the start and again.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use super::{BAD_CONFIG, ConfigArgs, print};
use crate::app::{self, Load, Watched};
use crate::components::Components;
use crate::config::{Config, Place, Problems};

const FAULTS_REFUSED: &str = "error: faults are configured; pass --allow-faults to run with them\n";

/// What the process was started with.
pub(super) struct Start {
    pub(super) config: ConfigArgs,
    pub(super) allow_faults: bool,
    // Taken once, by whoever watches.
    pub(super) watched: Mutex<Option<Watched>>,
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
            print(&mut io::stderr(), FAULTS_REFUSED);
            ExitCode::from(BAD_CONFIG)
        }
        Ok((config, warnings)) => {
            print(&mut io::stderr(), &warnings.to_string());
            ExitCode::from(app::run(config, Arc::new(start)).exit_code())
        }
        Err(problems) => {
            print(&mut io::stderr(), &problems.to_string());
            ExitCode::from(BAD_CONFIG)
        }
    }
}
