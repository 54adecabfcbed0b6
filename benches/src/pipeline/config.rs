//! The Veltrix config that does what the straight-line program does: a file source, a `map` handler per
//! class, a file sink per class.

use std::fmt::Write;
use std::path::Path;

use crate::straight_line::Workload;

/// The config as YAML. `input` is read once; a class `a` goes to `out/a.ndjson`, which is not synced: the program beside it
/// does not either.
pub(crate) fn yaml(workload: Workload, input: &Path, out: &Path, data_dir: &Path) -> String {
    let total = match workload {
        Workload::Shop => "data.amount * 2",
        Workload::GitHub => "data.actor.id * 2",
    };
    let mut text = format!(
        "service:\n  name: bench\n  data_dir: {data_dir:?}\n  admin: {{ listen: \"127.0.0.1:0\" }}\n\
         sources:\n  input: {{ type: file, path: {input:?}, follow: false, durability: none }}\nhandlers:\n"
    );
    for class in workload.classes() {
        let on = patterns(workload, class).join(", ");
        let handler = handler_name(class);
        let section = format!(
            "  {handler}:\n    on: [{on}]\n    type: map\n    set: {{ data.total: \"{total}\" }}\n    to: [{handler}]\n"
        );
        text.push_str(&section);
    }
    text.push_str("sinks:\n");
    for class in workload.classes() {
        let path = out.join(format!("{class}.ndjson"));
        let written = writeln!(
            text,
            "  {}: {{ type: file, path: {path:?}, sync: never }}",
            handler_name(class)
        );
        written.expect("writing to a string cannot fail");
    }
    text
}

fn handler_name(class: &str) -> String {
    class.replace('_', "-")
}

/// The type patterns of a class; together they name every type of the workload once.
fn patterns(workload: Workload, class: &str) -> Vec<String> {
    let kinds: &[&str] = match (workload, class) {
        (Workload::Shop, class) => return vec![format!("order.{class}")],
        (Workload::GitHub, "push") => &["push"],
        (Workload::GitHub, "pull_request") => &["pull_request.*"],
        (Workload::GitHub, "issues") => &["issues.*"],
        (Workload::GitHub, "issue_comment") => &["issue_comment.*"],
        (Workload::GitHub, _) => &[
            "commit_comment",
            "create",
            "delete",
            "fork",
            "gollum",
            "member.*",
            "public",
            "pull_request_review.*",
            "pull_request_review_comment.*",
            "release.*",
            "watch.*",
        ],
    };
    kinds
        .iter()
        .map(|kind| format!("\"com.github.{kind}\""))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_handler_and_a_sink() {
        for workload in [Workload::Shop, Workload::GitHub] {
            let text = yaml(
                workload,
                Path::new("in.ndjson"),
                Path::new("out"),
                Path::new("data"),
            );
            for class in workload.classes() {
                let name = handler_name(class);
                assert!(text.contains(&format!("    to: [{name}]\n")), "{text}");
                assert!(
                    text.contains(&format!(
                        "  {name}: {{ type: file, path: \"out/{class}.ndjson\", sync: never }}"
                    )),
                    "{text}"
                );
            }
        }
    }
}
