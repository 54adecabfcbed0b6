//! `veltrix journal`: what lies in the journal of a process that does not run, and whether all of it can be read.

mod text;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{BAD_CONFIG, ConfigArgs, OutputFormat, load, print};
use crate::app::{journal_folder, lock_to_read, overflow_folder};
use crate::components::Components;
use crate::config::Place as ConfigPlace;
use crate::journal::{DiskStorage, Finding, Found, Inspection, SegmentSummary, Stats, Verified};
use text::{inspected, stats_text, verified_text};

/// What to look at.
#[derive(Debug, Subcommand)]
pub(super) enum Journal {
    /// List its files, and with --records what is in them.
    Inspect {
        #[command(flatten)]
        place: Place,

        /// List the records, too: their sequence, number of events, source and time.
        #[arg(long)]
        records: bool,

        /// Begin with the record of this event.
        #[arg(
            long,
            value_name = "SEQUENCE",
            default_value = "0",
            requires = "records"
        )]
        from: u64,

        /// How many records.
        #[arg(long, default_value = "100", requires = "records")]
        limit: usize,

        /// How it is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Read all of it and compare each checksum; the exit code is 1 if something is damaged.
    Verify {
        #[command(flatten)]
        place: Place,

        /// How it is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Count its files, bytes and events, and what waits by source.
    Stats {
        #[command(flatten)]
        place: Place,

        /// How it is printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
}

/// Where the journal is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The data directory. Without it: `service.data_dir` of the config.
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    data_dir: Option<PathBuf>,

    /// The overflow log of this sink, in place of the journal.
    #[arg(long, value_name = "SINK")]
    overflow: Option<String>,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Why there is nothing to show.
struct Failure {
    message: String,
    exit_code: u8,
}

impl Failure {
    fn new(error: impl std::fmt::Display) -> Self {
        Self {
            message: format!("error: {error}\n"),
            exit_code: 1,
        }
    }
}

impl Journal {
    /// Reads the journal and prints what it is asked for.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        match self.answer(components) {
            Ok(answer) => {
                let text = answer.output.of(&answer.value, answer.text);
                print(&mut io::stdout(), &text);
                ExitCode::from(answer.exit_code)
            }
            Err(failure) => {
                print(&mut io::stderr(), &failure.message);
                ExitCode::from(failure.exit_code)
            }
        }
    }

    fn answer(self, components: &Components) -> Result<Answer, Failure> {
        match self {
            Self::Inspect {
                place,
                records,
                from,
                limit,
                output,
            } => place.read(components, |journal| {
                let mut value = json!({ "segments": segments(journal)? });
                if records {
                    let (records, next) = list_records(journal, from, limit)?;
                    value["records"] = records;
                    value["next_from"] = json!(next);
                }
                Ok(Answer {
                    value,
                    output,
                    text: inspected,
                    exit_code: 0,
                })
            }),
            Self::Verify { place, output } => place.read(components, |journal| {
                let verified = journal.verify().map_err(Failure::new)?;
                Ok(Answer {
                    value: verified_json(&verified),
                    output,
                    text: verified_text,
                    exit_code: u8::from(verified.is_damaged()),
                })
            }),
            Self::Stats { place, output } => place.read(components, |journal| {
                let stats = journal.stats().map_err(Failure::new)?;
                Ok(Answer {
                    value: stats_json(&stats),
                    output,
                    text: stats_text,
                    exit_code: 0,
                })
            }),
        }
    }
}

/// What is printed.
struct Answer {
    value: Value,
    output: OutputFormat,
    text: fn(&Value) -> String,
    exit_code: u8,
}

impl Place {
    /// Looks at the journal while no process can start with it.
    fn read(
        &self,
        components: &Components,
        look: impl FnOnce(&mut Inspection<DiskStorage>) -> Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let data_dir = self.locate(components)?;
        let _lock = lock_to_read(&data_dir).map_err(Failure::new)?;
        let folder = match &self.overflow {
            Some(sink) => overflow_folder(&data_dir, sink),
            None => journal_folder(&data_dir),
        };
        let cannot = |what: &str, why: &dyn std::fmt::Display| {
            Failure::new(format!("cannot {what} {}: {why}", folder.display()))
        };
        let storage =
            DiskStorage::read_only(&folder).map_err(|error| cannot("open the journal", &error))?;
        let mut journal =
            Inspection::open(storage).map_err(|error| cannot("read the journal", &error))?;
        look(&mut journal)
    }

    fn locate(&self, components: &Components) -> Result<PathBuf, Failure> {
        if let Some(data_dir) = &self.data_dir {
            return Ok(data_dir.clone());
        }
        match load(&self.config, components, ConfigPlace::Elsewhere) {
            Ok((config, _)) => Ok(config.service.data_dir),
            Err(problems) => Err(Failure {
                message: format!(
                    "{problems}help: the config is read for `service.data_dir` only; `--data-dir DIR` needs none\n"
                ),
                exit_code: BAD_CONFIG,
            }),
        }
    }
}

fn segments(journal: &mut Inspection<DiskStorage>) -> Result<Vec<Value>, Failure> {
    let segment = |segment: SegmentSummary| {
        json!({
            "name": segment.name,
            "first": segment.first,
            "events": segment.end - segment.first,
            "bytes": segment.bytes,
            "created": time(segment.created_ms),
        })
    };
    let segments = journal.segments().map_err(Failure::new)?;
    Ok(segments.into_iter().map(segment).collect())
}

/// Up to `limit` records, with what is damaged between them, and where to go on.
fn list_records(
    journal: &mut Inspection<DiskStorage>,
    from: u64,
    limit: usize,
) -> Result<(Value, Option<u64>), Failure> {
    let (mut records, mut next) = (Vec::new(), None);
    let walked = journal.walk(from, from, |found| {
        let entry = match found {
            Found::Void => return ControlFlow::Continue(()),
            Found::Record { record, .. } if records.len() == limit => {
                next = Some(record.first);
                return ControlFlow::Break(());
            }
            Found::Gap(_) if records.len() == limit => return ControlFlow::Continue(()),
            Found::Record { record, bytes } => json!({
                "sequence": record.first,
                "events": record.events,
                "source": record.tag,
                "time": time(record.time_ms),
                "bytes": bytes,
            }),
            Found::Gap(finding) => finding_json(&finding),
        };
        records.push(entry);
        ControlFlow::Continue(())
    });
    walked.map_err(Failure::new)?;
    Ok((json!(records), next))
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "segment": finding.segment,
        "offset": finding.bytes.start,
        "bytes": finding.bytes.end - finding.bytes.start,
        "first": finding.events.start,
        "events": finding.events.end - finding.events.start,
    })
}

fn verified_json(verified: &Verified) -> Value {
    let of_kind = |is_torn: bool| -> Vec<Value> {
        let findings = verified.findings.iter();
        let wanted = findings.filter(|finding| finding.is_torn == is_torn);
        wanted.map(finding_json).collect()
    };
    json!({
        "records": verified.records,
        "events": verified.events,
        "damaged": of_kind(false),
        "torn": of_kind(true),
        "cursor_lost": verified.is_cursor_lost,
    })
}

fn stats_json(stats: &Stats) -> Value {
    let by_source = stats.backlog.iter().map(|(source, backlog)| {
        json!({ "source": source, "events": backlog.events, "bytes": backlog.bytes })
    });
    let unfinished: u64 = stats.backlog.values().map(|backlog| backlog.events).sum();
    json!({
        "segments": stats.segments,
        "bytes": stats.bytes,
        "records": stats.records,
        "events": stats.events,
        "first_sequence": stats.sequences.start,
        "next_sequence": stats.sequences.end,
        "oldest": stats.times_ms.map(|(oldest, _)| time(oldest)),
        "newest": stats.times_ms.map(|(_, newest)| time(newest)),
        "finished_below": stats.finished_prefix,
        "cursor_lost": stats.is_cursor_lost,
        "unfinished": unfinished,
        "backlog": by_source.collect::<Vec<_>>(),
    })
}

fn time(ms: u64) -> String {
    // Years that the format cannot write come of damaged clocks only.
    let latest = Duration::from_secs(253_402_300_799);
    let since = Duration::from_millis(ms).min(latest);
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
