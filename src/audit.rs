//! The audit log: who did what to kept events, a line of JSON each, on the disk before it is done.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};

/// The file in the data directory.
pub(crate) const FILE: &str = "audit.ndjson";

/// Who wants something done.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// What they say that they are called.
    pub(crate) user: Option<String>,
    /// Where they asked from; none for a command that works on the data directory itself.
    pub(crate) peer: Option<SocketAddr>,
}

/// The audit log of a data directory.
#[derive(Debug)]
pub(crate) struct AuditLog {
    path: PathBuf,
    // One line after the other, whichever of the admin server's threads writes it.
    turn: Mutex<()>,
}

impl AuditLog {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self {
            path: data_dir.join(FILE),
            turn: Mutex::default(),
        }
    }

    /// Writes that `who` does `action` to the `count` events that `filter` chooses.
    ///
    /// # Errors
    /// It cannot be written, or not be brought to the disk.
    pub(crate) fn write(
        &self,
        who: &Who,
        action: &str,
        filter: &Value,
        count: usize,
    ) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let peer = who.peer.map(|peer| peer.to_string());
        let line = json!({
            "at": at, "user": who.user, "peer": peer, "action": action, "filter": filter, "count": count,
        });
        let is_new = !self.path.exists();
        let mut options = File::options();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)?;
        // A line that a crash has torn stays a line of its own.
        let newline = if is_torn(&mut file)? { "\n" } else { "" };
        file.write_all(format!("{newline}{line}\n").as_bytes())?;
        file.sync_data()?;
        if is_new && let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// Whether the file's last byte ends no line.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_a_line_and_a_torn_one_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::of(folder.path());
        let who = Who {
            user: Some("eve".to_owned()),
            peer: None,
        };
        log.write(&who, "purge", &json!({ "all": true }), 3)
            .unwrap();
        let path = folder.path().join(FILE);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"at\":");
        std::fs::write(&path, &text).unwrap();
        log.write(&who, "replay", &json!({}), 1).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Option<Value>> = text
            .lines()
            .map(|line| serde_json::from_str(line).ok())
            .collect();
        let of = |line: &Option<Value>, key: &str| line.as_ref().map(|line| line[key].clone());
        assert_eq!(of(&lines[0], "count"), Some(json!(3)));
        assert_eq!(of(&lines[0], "user"), Some(json!("eve")));
        assert!(lines[1].is_none());
        assert_eq!(of(&lines[2], "action"), Some(json!("replay")));
    }
}
