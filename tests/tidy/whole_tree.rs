//! Rules about the tree as a whole: what must be told somewhere else too.

use crate::rules::Finding;

/// The example configs whose file name no page of the docs mentions.
pub(crate) fn examples_without_docs(files: &[String], docs: &str) -> Vec<Finding> {
    files
        .iter()
        .filter(|path| path.starts_with("config/examples/") && path.ends_with(".yaml"))
        .filter(|path| !docs.contains(path.trim_start_matches("config/examples/")))
        .map(|path| {
            Finding::new(
                path,
                1,
                "no page of the docs mentions this example",
                "a reader finds it there",
            )
        })
        .collect()
}

/// The dependencies of the workspace table that `docs/dependencies.md` has no line for.
pub(crate) fn dependencies_without_reason(manifest: &str, reasons: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut section = "";
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let name = name.trim();
        let is_ours = value.contains("path =");
        if section != "[workspace.dependencies]" || line.starts_with('#') || is_ours {
            continue;
        }
        let entry = format!("| `{name}` |");
        if !reasons.lines().any(|line| line.starts_with(&entry)) {
            let message = format!("`{name}` has no line in docs/dependencies.md");
            findings.push(Finding::new(
                "Cargo.toml",
                index + 1,
                &message,
                "every dependency has a reason",
            ));
        }
    }
    findings
}
