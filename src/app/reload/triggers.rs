//! What asks for a reload beside the API: SIGHUP, and the config's files when they change.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::{Reload, ReloadDesk};
use crate::config;

/// How long the files must be left alone: an editor, or whoever swaps a folder, does several things.
const QUIET: Duration = Duration::from_millis(200);

/// Files that are watched.
pub(crate) struct Watched {
    names: Vec<String>,
    /// What they were when they were read.
    seen: u64,
}

impl Watched {
    /// Those that the names of the command line stand for, as they are now.
    pub(crate) fn now(names: &[String]) -> Self {
        Self {
            names: names.to_vec(),
            seen: digest(names),
        }
    }
}

/// SIGHUP, from the first moment on: without it the signal would end the process.
pub(in super::super) struct Hangups(Signal);

impl Hangups {
    pub(in super::super) fn listen() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Has the config read again at each signal.
    pub(in super::super) async fn follow(mut self, desk: Arc<ReloadDesk>) {
        while self.0.recv().await.is_some() {
            desk.order(Reload {
                trigger: "SIGHUP",
                is_dry_run: false,
                answer: None,
            });
        }
    }
}

/// Has the config read again whenever its files have changed, as long as what it returns is kept.
///
/// # Errors
/// The folders cannot be watched.
pub(in super::super) fn watch_files(
    Watched { names, mut seen }: Watched,
    desk: Arc<ReloadDesk>,
) -> Result<RecommendedWatcher, notify::Error> {
    let changed = Arc::new(Notify::new());
    let news = changed.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Whatever it is, the files are looked at then; which is no news itself.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            news.notify_one();
        }
    })?;
    for folder in folders(&names) {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        tracing::info!(?folder, "the config is watched");
    }
    // What has changed since they were read.
    changed.notify_one();
    actix_rt::spawn(async move {
        loop {
            changed.notified().await;
            let now = at_rest(&names).await;
            if std::mem::replace(&mut seen, now) != now {
                desk.order(Reload {
                    trigger: "watch",
                    is_dry_run: false,
                    answer: None,
                });
            }
        }
    });
    Ok(watcher)
}

/// Where the files are: a file is watched by its folder, so that another one in its place is seen.
fn folders(names: &[String]) -> BTreeSet<PathBuf> {
    let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
    for name in names {
        if Path::new(name).is_dir() {
            folders.insert(name.into());
        }
    }
    for file in config::locate(names).unwrap_or_default() {
        let real = file.canonicalize().ok();
        for path in [Some(file), real].into_iter().flatten() {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            folders.insert(folder.unwrap_or(Path::new(".")).to_owned());
        }
    }
    folders
}

/// What the files are once they are left alone; others in their folders may never rest.
async fn at_rest(names: &[String]) -> u64 {
    let mut before = digest(names);
    loop {
        tokio::time::sleep(QUIET).await;
        let now = digest(names);
        if now == before {
            return now;
        }
        before = now;
    }
}

/// A number that changes with the files.
fn digest(names: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in config::locate(names).unwrap_or_default() {
        file.hash(&mut hasher);
        std::fs::read(&file).ok().hash(&mut hasher);
    }
    hasher.finish()
}
