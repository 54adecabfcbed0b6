//! Faults on purpose: decorates the config's factories with what its `faults` plan.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use veltrix_actors::{Faults, Registry};

use crate::config::Config;

/// Whether the fault log begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    New,
    Continued,
}

impl Log {
    fn open(self, path: &Path) -> io::Result<File> {
        match self {
            Self::New => File::create(path),
            Self::Continued => File::options().append(true).create(true).open(path),
        }
    }
}

/// Has the config's components and the router fail by plan.
///
/// # Errors
/// The fault log cannot be written.
pub(super) fn apply(config: &mut Config, registry: &Arc<Registry>, log: Log) -> Result<(), String> {
    let Some(planned) = &mut config.faults else {
        return Ok(());
    };
    let file = match &planned.log {
        None => None,
        Some(path) => {
            let created = match path.parent() {
                Some(folder) => std::fs::create_dir_all(folder),
                None => Ok(()),
            };
            let file = created
                .and_then(|()| log.open(path))
                .map_err(|error| format!("faults.log: cannot write {}: {error}", path.display()))?;
            Some(Box::new(file) as Box<dyn Write + Send>)
        }
    };
    tracing::warn!(
        seed = planned.plan.seed,
        injections = planned.plan.injections.len(),
        "faults are injected"
    );
    let faults = Faults::new(planned.plan.clone(), registry.clone(), file);
    planned.router = faults.router();
    for source in &mut config.sources {
        source.factory = faults.source(&source.name, source.factory.clone());
    }
    for handler in &mut config.handlers {
        handler.factory = faults.handler(&handler.name, handler.factory.clone());
    }
    for sink in &mut config.sinks {
        sink.factory = faults.sink(&sink.name, sink.factory.clone());
    }
    Ok(())
}
