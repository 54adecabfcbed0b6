//! What an earlier config has left in the data directory, for sinks and sources that this one does not have.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use veltrix_actors::DurabilityKind;

use crate::config::Config;

/// Warns of it: nothing else would tell that it is there.
pub(super) fn warn(config: &Config) {
    let data_dir = &config.service.data_dir;
    let is_sink = |name: &OsStr| config.sinks.iter().any(|sink| *sink.name == *name);
    for folder in orphans(&data_dir.join("overflow"), is_sink) {
        tracing::warn!(
            ?folder,
            "events wait here for a sink that the config does not have"
        );
    }
    let is_source = |name: &OsStr| {
        let mut sources = config.sources.iter();
        sources.any(|source| *source.name == *name && source.durability == DurabilityKind::Upstream)
    };
    for folder in orphans(&data_dir.join("cursors"), is_source) {
        tracing::warn!(
            ?folder,
            "the place of a source lies here that the config does not have with `durability: upstream`: \
             under another name it begins at the start"
        );
    }
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
