//! Options that say how often, how long, how many at once and how much together, in the real binary. Nothing here is measured in time:
//! what comes at once stands beside what would come in an hour, and is there first.

#[path = "support/folder.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod folder;
#[path = "support/gate.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod gate;
#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "paces/patience.rs"]
mod patience;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "paces/sizes.rs"]
mod sizes;
#[path = "support/stub_server.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod stub_server;
#[path = "paces/together.rs"]
mod together;

use process::Process;
use serde_json::{Value, json};

/// Longer than any test takes, even if chance makes it shorter: of 48 million such waits one is over within a minute.
const AGES: &str = "800000h";

/// A config whose one handler passes all on.
fn config(sources: Value, sinks: Value) -> Value {
    let names: Vec<&String> = sinks.as_object().expect("sinks").keys().collect();
    json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": sources,
        "handlers": { "all": { "on": ">", "type": "pass", "to": names } },
        "sinks": sinks,
    })
}

/// The threads of a process, as their lines in `/proc`: `<id> (<name>) <state> ...`.
fn threads(process: &Process) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("it runs");
    tasks
        // One that has ended since leaves no line.
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .collect()
}

/// Whether all of a process waits for something from outside of it, or for time to pass.
fn is_at_rest(process: &Process) -> bool {
    let is_asleep = |line: &String| {
        let (_, rest) = line.rsplit_once(") ").expect("a name in brackets");
        rest.starts_with("S ")
    };
    threads(process).iter().all(is_asleep)
}
