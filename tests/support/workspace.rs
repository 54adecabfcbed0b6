//! The real binary with a config of the test's own, fed over standard input until it has drained.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A directory that the process runs in.
pub(crate) struct Workspace {
    dir: TempDir,
}

/// What a process left behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<String>,
    pub(crate) log: String,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The lines of a file below the directory.
    pub(crate) fn lines_of(&self, path: &str) -> Vec<String> {
        let path = self.dir.path().join(path);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        text.lines().map(str::to_owned).collect()
    }

    /// Starts the process with these components beside a standard input source called `in`.
    pub(crate) fn command(&self, components: &str) -> Command {
        let config = format!(
            "service: {{ name: test, data_dir: ./data, drain_timeout: 10s }}\n\
             sources: {{ in: {{ type: stdin }} }}\n{components}"
        );
        std::fs::write(self.dir.path().join("veltrix.yaml"), config).expect("a config file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_veltrix"));
        command
            .args(["run", "-c", "veltrix.yaml"])
            .current_dir(self.dir.path())
            .env_remove("VELTRIX_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the process over `events` until it ends.
    pub(crate) fn run(&self, components: &str, events: &[String]) -> Ended {
        let mut child = self.command(components).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("it was piped");
        let input = events
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        // Beside the reading of the output, since neither pipe holds everything.
        let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().expect("it was started");
        feeding
            .join()
            .expect("no panic")
            .expect("it reads its input");
        Ended::from(output)
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).expect("events are UTF-8");
        Self {
            code: output.status.code(),
            lines: stdout.lines().map(str::to_owned).collect(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// It drained, and its closing summary has all of these.
    pub(crate) fn assert_drained(&self, summary: &[&str]) {
        assert_eq!(self.code, Some(0), "{}", self.log);
        let last = self
            .log
            .lines()
            .rfind(|line| line.contains(" summary accepted="));
        let last = last.unwrap_or_else(|| panic!("no summary in {}", self.log));
        for part in summary.iter().chain([&"balanced=true"]) {
            assert!(
                last.contains(part),
                "`{part}` is not in `{last}`\n{}",
                self.log
            );
        }
    }
}

/// An event with a number as data.
pub(crate) fn event(id: usize, event_type: &str, subject: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/test","type":"{event_type}","subject":"{subject}","data":{{"n": {id}}}}}"#
    )
}
