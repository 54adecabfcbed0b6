//! A folder that outlives the process: what it reads and what it writes.

use std::path::PathBuf;

use serde_json::Value;

/// A folder that is removed at the test's end.
pub(crate) struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The absolute path of what is called `name` in it.
    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        path.to_str().expect("a UTF-8 path").to_owned()
    }

    /// Writes lines and returns their file's path.
    pub(crate) fn write(&self, name: &str, lines: &[String]) -> String {
        let path = self.path(name);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The lines of a file; none if there is no such file.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        match std::fs::read_to_string(self.path(name)) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// The events of a file.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        self.lines(name).iter().map(|line| event(line)).collect()
    }
}

/// A line as JSON.
pub(crate) fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}
