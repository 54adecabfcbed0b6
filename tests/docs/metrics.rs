//! The page of metrics: every family that a running process answers with.

use serde_json::json;

use crate::process::{Process, request};

const GENERATED: &str = "<!-- Generated from `/metrics` by tests/docs/metrics.rs; do not edit. -->";
const ABOUT: &str = "What `/metrics` of the admin server (`service.admin.listen`) says, in the OpenMetrics text format 1.0. A counter's sample is called as here with
`_total` behind it, an info's with `_info`. Labels are `source`, `handler` and `sink` (names of the config), `actor` (a path of `veltrix top`), and those of the last column.
[Monitoring](../monitoring.md) says what to watch.";

/// Labels beside the names of sources, handlers, sinks and actors.
const LABELS: [(&str, &str); 9] = [
    ("veltrix_source_rejected", "`reason`"),
    ("veltrix_dead_letters", "`class`"),
    ("veltrix_dropped", "`rule`"),
    ("veltrix_faults_injected", "`at`, `action`"),
    ("veltrix_actor_state", "`state`"),
    ("veltrix_reloads", "`result`"),
    ("veltrix_config", "`version`"),
    ("veltrix_build", "`version`"),
    ("veltrix_handler_rebuild_seconds", "`le`"),
];

/// The page as a running process has it.
pub(crate) fn page() -> String {
    let config = json!({
        "service": { "admin": { "listen": "127.0.0.1:0" } },
        "sources": { "in": { "type": "http", "listen": "127.0.0.1:0" } },
        "handlers": { "all": { "on": ">", "type": "pass", "to": "out" } },
        "sinks": { "out": { "type": "blackhole" } },
    });
    let mut process = Process::start(&config.to_string());
    let admin = process.admin();
    process.running();
    let answer = request(admin, "GET", "/metrics", &[], b"").body;
    process.stop().assert_drained();
    let lines: Vec<&str> = answer.lines().collect();
    let mut page = format!(
        "# Metrics\n\n{GENERATED}\n\n{ABOUT}\n\n| metric | type | | labels |\n|---|---|---|---|\n"
    );
    for (at, line) in lines.iter().enumerate() {
        let Some(family) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = family.split_once(' ').expect("a name and a type");
        let help = lines[at + 1].strip_prefix(&format!("# HELP {name} "));
        let help = help.expect("its help");
        let labels = LABELS.iter().find(|(family, _)| *family == name);
        let labels = labels.map_or("", |(_, labels)| labels);
        page.push_str(&format!("| `{name}` | {kind} | {help} | {labels} |\n"));
    }
    for (name, _) in LABELS {
        assert!(
            page.contains(&format!("`{name}`")),
            "no metric is called {name}"
        );
    }
    page
}
