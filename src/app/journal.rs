//! The journal as a child of the root. Its end ends the process: what is in doubt then is settled by the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_rt::Arbiter;
use veltrix_actors::{
    ChildSpec, DedupeSpec, DurabilityKind, JournalReplaySpec, JournalSpec, Restart, start_journal,
};

use super::tree::{SHUTDOWN, Tree, child as child_spec};
use crate::config::Config;
use crate::journal::DiskJournalFactory;

/// The journal's folder in the data directory.
pub(crate) fn journal_folder(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

/// Whether this process has a journal.
pub(super) fn is_there(config: &Config) -> bool {
    let mut sources = config.sources.iter();
    sources.any(|source| source.durability == DurabilityKind::Journal)
        || journal_folder(&config.service.data_dir).exists()
}

/// The journal's actor, if there is a source that needs it or a journal that an earlier process has left.
pub(super) fn child(tree: &Tree, config: &Config) -> Option<ChildSpec> {
    if !is_there(config) {
        return None;
    }
    let folder = journal_folder(&config.service.data_dir);
    let spec = JournalSpec {
        factory: Arc::new(DiskJournalFactory::new(folder, &config.journal)),
        router: tree.router.clone(),
        types: tree.types.clone(),
        budget: tree.budget.clone(),
        backlog_bytes_max: config.journal.backlog_bytes,
        dedupe: config.dedupe.map(|dedupe| DedupeSpec {
            window: dedupe.window,
            keys_max: dedupe.keys_max,
        }),
        replay: Some(JournalReplaySpec {
            targets: tree.directory.clone(),
            desk: tree.journal_desk.clone(),
        }),
        registry: tree.registry.clone(),
    };
    let inlet = tree.journal.clone();
    // It waits for its disk, which nobody else shall wait for.
    let arbiter = Arbiter::new().handle();
    Some(child_spec(
        "journal",
        Restart::Permanent,
        SHUTDOWN,
        move |lifeline| start_journal(spec.clone(), inlet.clone(), &arbiter, lifeline),
    ))
}
