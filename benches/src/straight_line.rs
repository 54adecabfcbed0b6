//! The straight-line program: one thread reads lines, parses the envelope, routes by type, computes one
//! field and writes to a file per class. It is what the pipeline is measured against, and it defines the
//! exact bytes of every output line. Written once, as fast as serde_json allows, and never slowed.

mod envelope;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::line_reader::LineReader;
use envelope::Envelope;

const BUFFER_BYTES: usize = 64 * 1024;

/// Read events, route them by type and compute one field, in one thread, as fast as possible.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// CloudEvents, one a line.
    #[arg(long)]
    input: PathBuf,
    /// The folder of the output files; it must exist.
    #[arg(long)]
    out: PathBuf,
    /// GitHub events (five classes) instead of small shop events (four).
    #[arg(long)]
    github: bool,
}

/// Which events are read: this decides the classes and the computed field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    /// `data.total = data.amount * 2`
    Shop,
    /// `data.total = data.actor.id * 2`
    GitHub,
}

impl Workload {
    /// The names of the output files, without `.ndjson`.
    pub(crate) fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Shop => &["created", "paid", "shipped", "returned"],
            Self::GitHub => &["push", "pull_request", "issues", "issue_comment", "other"],
        }
    }

    /// The index of a type's class, or none for a type that has no place.
    fn class_of(self, event_type: &str) -> Option<usize> {
        match self {
            Self::Shop => match event_type {
                "order.created" => Some(0),
                "order.paid" => Some(1),
                "order.shipped" => Some(2),
                "order.returned" => Some(3),
                _ => None,
            },
            Self::GitHub => {
                let kind = event_type.strip_prefix("com.github.")?;
                match kind
                    .split_once('.')
                    .map_or((kind, false), |(head, _)| (head, true))
                {
                    ("push", false) => Some(0),
                    ("pull_request", true) => Some(1),
                    ("issues", true) => Some(2),
                    ("issue_comment", true) => Some(3),
                    _ => Some(4),
                }
            }
        }
    }

    fn total(self, data: &str) -> anyhow::Result<i64> {
        let (factor, present) = match self {
            Self::Shop => {
                let data: ShopData = serde_json::from_str(data)?;
                (data.amount, data.total)
            }
            Self::GitHub => {
                let data: GitHubData = serde_json::from_str(data)?;
                (data.actor.id, data.total)
            }
        };
        if present.is_some() {
            bail!("data has a member `total` already");
        }
        factor
            .checked_mul(2)
            .context("total does not fit into 64 bits")
    }
}

#[derive(Deserialize)]
struct ShopData {
    amount: i64,
    total: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct GitHubData {
    actor: Actor,
    total: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Actor {
    id: i64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workload = if options.github {
        Workload::GitHub
    } else {
        Workload::Shop
    };
    let input = File::open(&options.input)
        .with_context(|| format!("opening {}", options.input.display()))?;
    let mut outputs = open_outputs(workload, &options.out)?;
    let mut lines = LineReader::new(input);
    let mut number: u64 = 0;
    while let Some(line) = lines.next_line()? {
        number += 1;
        pass_on(workload, line, &mut outputs)
            .with_context(|| format!("{} line {number}", options.input.display()))?;
    }
    for output in &mut outputs {
        output.flush()?;
    }
    Ok(())
}

fn open_outputs(workload: Workload, folder: &Path) -> anyhow::Result<Vec<BufWriter<File>>> {
    workload
        .classes()
        .iter()
        .map(|class| {
            let path = folder.join(format!("{class}.ndjson"));
            let file =
                File::create(&path).with_context(|| format!("creating {}", path.display()))?;
            Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
        })
        .collect()
}

/// Parses one line and writes it, with the new last member of `data`, to the file of its class.
fn pass_on<W: Write>(workload: Workload, line: &[u8], outputs: &mut [W]) -> anyhow::Result<()> {
    let line = std::str::from_utf8(line)?;
    let event: Envelope<'_> = serde_json::from_str(line)?;
    let class = workload
        .class_of(&event.event_type)
        .with_context(|| format!("type `{}` has no class", event.event_type))?;
    let data = event.data.get();
    let total = workload.total(data)?;
    // `data` borrows from `line`, and its last byte is the closing brace, since it was read as an object.
    let closing = data.as_ptr().addr() - line.as_ptr().addr() + data.len() - 1;
    let output = &mut outputs[class];
    output.write_all(&line.as_bytes()[..closing])?;
    output.write_all(b",\"total\":")?;
    output.write_all(itoa::Buffer::new().format(total).as_bytes())?;
    output.write_all(&line.as_bytes()[closing..])?;
    output.write_all(b"\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(workload: Workload, line: &str) -> anyhow::Result<Vec<String>> {
        let mut outputs = vec![Vec::new(); workload.classes().len()];
        pass_on(workload, line.as_bytes(), &mut outputs)?;
        Ok(outputs
            .into_iter()
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect())
    }

    fn event(event_type: &str, data: &str) -> String {
        format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"{event_type}","data":{data},"z":1}}"#
        )
    }

    #[test]
    fn the_new_member_is_the_last_of_data() {
        let line = event("order.paid", r#"{"amount":21,"a":{}}"#);
        let out = written(Workload::Shop, &line).unwrap();
        let expected = event("order.paid", r#"{"amount":21,"a":{},"total":42}"#);
        assert_eq!(out, ["", &format!("{expected}\n"), "", ""]);
    }

    #[test]
    fn github_types_have_five_classes() {
        let class = |kind: &str| Workload::GitHub.class_of(&format!("com.github.{kind}"));
        assert_eq!(class("push"), Some(0));
        assert_eq!(class("pull_request.opened"), Some(1));
        assert_eq!(class("pull_request_review.created"), Some(4));
        assert_eq!(class("issues.closed"), Some(2));
        assert_eq!(class("issue_comment.created"), Some(3));
        assert_eq!(class("watch.started"), Some(4));
        assert_eq!(Workload::GitHub.class_of("order.paid"), None);
    }

    #[test]
    fn an_invalid_line_is_an_error() {
        let bad = [
            "",
            "{",
            &event("order.lost", r#"{"amount":1}"#),
            &event("order.paid", r#"{"amount":1.5}"#),
            &event("order.paid", r#"{"amount":9223372036854775807}"#),
            &event("order.paid", r#"{"amount":1,"total":2}"#),
            &event("order.paid", "[1]"),
            r#"{"specversion":"0.3","id":"1","source":"/s","type":"order.paid","data":{"amount":1}}"#,
            r#"{"specversion":"1.0","id":"","source":"/s","type":"order.paid","data":{"amount":1}}"#,
            r#"{"specversion":"1.0","id":"1","type":"order.paid","data":{"amount":1}}"#,
        ];
        for line in bad {
            assert!(written(Workload::Shop, line).is_err(), "{line}");
        }
        assert!(pass_on(Workload::Shop, b"{\"\xff\":1}", &mut [Vec::new()]).is_err());
    }

    #[test]
    fn escapes_in_names_and_values_are_understood() {
        let line = r#"{"specversion":"1.0","\u0069d":"1","source":"/s","type":"order\u002epaid","data":{"amount":1}}"#;
        let out = written(Workload::Shop, line).unwrap();
        assert_eq!(
            out[1],
            format!("{}\n", line.replace(":1}", ":1,\"total\":2}"))
        );
    }
}
