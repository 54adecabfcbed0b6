//! Runs a walkthrough as a reader would: each `sh` block in turn, in one shell; the block behind it is what it shows.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{files, read};

/// Tells the output of one block from that of the next.
const MARK: &str = "::block";

/// Commands, and lines that their output must have, in part or whole.
struct Step {
    commands: String,
    shown: Vec<String>,
}

#[test]
fn the_commands_of_getting_started_do_what_it_says() {
    follow("docs/getting-started.md");
}

#[test]
fn the_commands_of_break_it_on_purpose_do_what_it_says() {
    follow("docs/walkthroughs/break-it.md");
}

fn follow(page: &str) {
    let steps = steps(&read(page));
    assert!(steps.len() > 5, "only {} blocks found", steps.len());
    let output = run(&steps);
    for (step, output) in steps.iter().zip(output.split(MARK).skip(1)) {
        for line in &step.shown {
            let is_shown = output.lines().any(|found| found.contains(line.as_str()));
            assert!(
                is_shown,
                "`{line}` is not shown by\n{}\nbut\n{output}",
                step.commands
            );
        }
    }
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut blocks = page.split("\n```");
    blocks.next();
    // Between two fences there is a block, then text.
    while let Some(block) = blocks.next() {
        blocks.next();
        let (language, text) = block.split_once('\n').unwrap_or((block, ""));
        match (language, steps.last_mut()) {
            ("sh", _) => steps.push(Step {
                commands: text.to_owned(),
                shown: Vec::new(),
            }),
            ("json" | "text", Some(step)) => step.shown.extend(text.lines().map(str::to_owned)),
            _ => {}
        }
    }
    steps
}

/// What the shell shows, on ports that are free, in a folder of its own.
fn run(steps: &[Step]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    // A reader is in the project's folder, where the test must not write.
    let examples = folder.path().join("config/examples");
    std::fs::create_dir_all(&examples).expect("a folder");
    for example in files("config/examples", ".yaml") {
        let name = example.file_name().expect("it is a file");
        std::fs::copy(&example, examples.join(name)).expect("copied");
    }
    let mut script = "exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for step in steps {
        script.push_str(&format!("echo '{MARK}'\n{}\n", step.commands));
    }
    let script = script
        .replace("127.0.0.1:8080", &free_address())
        .replace("127.0.0.1:8686", &free_address());
    let binary = Path::new(env!("CARGO_BIN_EXE_veltrix"));
    let own = binary.parent().expect("it is in a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash")
        .args(["-euo", "pipefail", "-s"])
        .env("PATH", format!("{own}:{path}"))
        .env_remove("VELTRIX_CONFIG")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash");
    let mut stdin = shell.stdin.take().expect("it is piped");
    stdin.write_all(script.as_bytes()).expect("bash reads it");
    drop(stdin);
    let output = shell.wait_with_output().expect("it was started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{text}", output.status);
    text
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}
