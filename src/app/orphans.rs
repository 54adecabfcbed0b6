//! What an earlier config has left in the data directory, for sinks and sources that this one does not have.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use veltrix_actors::DurabilityKind;

use crate::config::{Config, KeyPath, Problem, Severity};
use crate::journal::{DiskStorage, Inspection, Unfinished};

/// Warns of it at the start: nothing else would tell that it is there.
pub(super) fn warn(config: &Config) {
    let is_sink = |name: &OsStr| config.sinks.iter().any(|sink| *sink.name == *name);
    let logs = config.service.data_dir.join("overflow");
    for folder in orphans(&logs, is_sink) {
        warn_of_log(&folder);
    }
    for folder in places(config) {
        tracing::warn!(
            ?folder,
            "the place of a source lies here that the config does not have with `durability: upstream`: \
             under another name it begins at the start"
        );
    }
}

/// What to know before the process goes by `next`: the places that belong to no source from then on. Of those that belong
/// to none already, the start has warned.
pub(super) fn left_behind(now: &Config, next: &Config) -> Vec<Problem> {
    let before = places(now);
    let left = places(next).into_iter();
    left.filter(|place| !before.contains(place))
        .map(|place| Problem {
            severity: Severity::Warning,
            path: KeyPath::of(["sources"]),
            message: format!(
                "the place of a source lies in {} that the config does not have any more with `durability: upstream`: \
                 under another name it begins at the start",
                place.display()
            ),
            origin: None,
            help: Some("give the source its name back, unless it is to begin anew".to_owned()),
        })
        .collect()
}

/// The places that no source of the config goes on from.
fn places(config: &Config) -> Vec<PathBuf> {
    let is_source = |name: &OsStr| {
        let mut sources = config.sources.iter();
        sources.any(|source| *source.name == *name && source.durability == DurabilityKind::Upstream)
    };
    orphans(&config.service.data_dir.join("cursors"), is_source)
}

/// Warns of an overflow log without a sink, unless all that was ever in it is delivered.
fn warn_of_log(folder: &Path) {
    let unfinished = unfinished(folder);
    if let Ok(Unfinished { events, .. }) = unfinished
        && events > 0
    {
        tracing::warn!(
            ?folder,
            events,
            "events wait here for a sink that the config does not have: give the sink its name back, or remove the folder"
        );
    }
    let error = match unfinished {
        Ok(Unfinished { is_damaged, .. }) if !is_damaged => return,
        Ok(_) => "it is damaged".to_owned(),
        Err(error) => error,
    };
    tracing::warn!(
        ?folder,
        error,
        "the overflow log of a sink that the config does not have cannot be read in full, and events may wait in it"
    );
}

fn unfinished(folder: &Path) -> Result<Unfinished, String> {
    let storage = DiskStorage::read_only(folder).map_err(|error| error.to_string())?;
    let log = Inspection::open(storage);
    log.and_then(|mut log| log.unfinished())
        .map_err(|error| error.to_string())
}

/// The folders in `parent` whose names are not known.
fn orphans(parent: &Path, is_known: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
    let Ok(folders) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let unknown = folders
        .flatten()
        .filter(|entry| !is_known(&entry.file_name()));
    unknown.map(|entry| entry.path()).collect()
}
