//! Dead letters on a data directory that no process uses.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use veltrix_actors::{DeadLetterFilter, DeadLetterQuery, DeadLetterStore};

use crate::admin_client::{AdminError, user};
use crate::app::lock_data_dir;
use crate::audit::{AuditLog, Who};
use crate::dead_letters::{DiskDeadLetters, FOLDER, filter, page_as_json};

/// The store of a data directory, which is locked as long as this lives.
pub(super) struct Offline {
    store: DiskDeadLetters,
    audit: AuditLog,
    _lock: File,
}

impl Offline {
    /// Opens the store in the data directory.
    pub(super) fn open(data_dir: &Path) -> Result<Self, AdminError> {
        let folder = data_dir.join(FOLDER);
        if !folder.is_dir() {
            let folder = folder.display();
            let why = format!("there are no dead letters on disk: {folder} does not exist");
            return Err(AdminError::Failed(why));
        }
        let lock = lock_data_dir(data_dir).map_err(failed)?;
        // Nothing is added here, so nothing bounds it.
        let mut store = DiskDeadLetters::open(&folder, u64::MAX).map_err(failed)?;
        while store.prepare().map_err(failed)? {}
        Ok(Self {
            store,
            audit: AuditLog::of(data_dir),
            _lock: lock,
        })
    }

    /// As `GET /api/dead-letters`.
    pub(super) fn list(&mut self, parameters: &[(&str, String)]) -> Result<Value, AdminError> {
        let mut query = DeadLetterQuery::default();
        for (name, value) in parameters {
            let number = || value.parse().map_err(failed);
            match *name {
                "limit" => query.limit = usize::try_from(number()?).map_err(failed)?,
                "after" => query.before = Some(number()?),
                _ => set(&mut query.filter, name, value)?,
            }
        }
        let page = self.store.page(&query).map_err(failed)?;
        serde_json::from_str(&page_as_json(&page, 0)).map_err(failed)
    }

    /// As `GET /api/dead-letters/{sequence}`.
    pub(super) fn show(&mut self, sequence: u64) -> Result<Value, AdminError> {
        let letter = self.store.get(sequence).map_err(failed)?;
        let letter = letter.ok_or_else(|| failed(format!("there is no dead letter {sequence}")))?;
        let mut text = String::new();
        letter.write_story(&mut text);
        serde_json::from_str(&text).map_err(failed)
    }

    /// As `POST /api/dead-letters/purge`.
    pub(super) fn purge(
        &mut self,
        filters: &[(&str, String)],
        order: &Value,
    ) -> Result<Value, AdminError> {
        let mut wanted = DeadLetterFilter::default();
        for (name, value) in filters {
            set(&mut wanted, name, value)?;
        }
        let sequences = self.store.select(&wanted).map_err(failed)?;
        let mut count = sequences.len();
        let is_dry = order["dry_run"] == true;
        if !is_dry {
            let who = Who {
                user: Some(user()),
                peer: None,
            };
            let mut filter = order["filter"].clone();
            if order["all"] == true {
                filter["all"] = true.into();
            }
            let written = self.audit.write(&who, "dead-letters purge", &filter, count);
            written.map_err(|error| failed(format!("the audit log cannot be written: {error}")))?;
            count = self.store.remove(&sequences).map_err(failed)?;
            self.store.tidy().map_err(failed)?;
        }
        Ok(json!({ "dry_run": is_dry, "count": count }))
    }
}

fn set(wanted: &mut DeadLetterFilter, name: &str, value: &str) -> Result<(), AdminError> {
    match filter(wanted, name, value) {
        Ok(_) => Ok(()),
        Err(why) => Err(AdminError::Usage(why)),
    }
}

fn failed(error: impl std::fmt::Display) -> AdminError {
    AdminError::Failed(error.to_string())
}
