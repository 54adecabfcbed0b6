//! The command line: what it takes, and which part of the library each command calls.

mod components;
mod dead_letters;
mod graph;
mod journal;
mod replay;
mod run;
mod schema;
mod test;
mod top;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use tracing::level_filters::LevelFilter;

use crate::admin_client::AdminError;
use crate::app;
use crate::components::Components;
use crate::config::{self, Config, Place, Problems};
use crate::telemetry::{self, LogFormat};

/// Exit code of a bad config.
pub(crate) const BAD_CONFIG: u8 = 78;

const WARNINGS_DENIED: &str = "error: warnings are denied (--deny-warnings)\n";
const FAULTS_NOTED: &str = "note: faults are configured; `veltrix run` needs --allow-faults\n";

/// The central event processor: sources, a router, supervised handlers and sinks, wired from a config.
#[derive(Debug, Parser)]
#[command(name = "veltrix", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// How log lines are written to standard error.
    #[arg(long, value_enum, default_value = "text", global = true)]
    log_format: LogFormat,

    /// The least level that is logged: error, warn, info, debug, trace or off.
    #[arg(long, default_value = "info", global = true)]
    log_level: LevelFilter,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT, or until all sources are done.
    Run {
        #[command(flatten)]
        config: ConfigArgs,

        /// Run although the config injects faults.
        #[arg(long)]
        allow_faults: bool,

        /// Take the config over whenever its files change, as SIGHUP does.
        #[arg(long)]
        watch: bool,
    },
    /// Print every problem of a config with its place and the valid choices.
    Validate {
        #[command(flatten)]
        config: ConfigArgs,

        /// Fail on warnings too.
        #[arg(long)]
        deny_warnings: bool,

        /// How problems are printed to standard output.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Print which sources, handlers and sinks exist, with their options.
    Components {
        /// One kind only, such as `file`.
        kind: Option<String>,

        /// How they are printed.
        #[arg(short, long, value_enum, default_value = "text")]
        output: OutputFormat,
    },
    /// Print what is wired to what: sources, type patterns, handlers with their lanes and supervision, sinks.
    Graph(graph::Graph),
    /// Run the tests that stand in a config, on whole events through the whole wiring.
    Test(test::Test),
    /// Print the JSON Schema of the config, for editors.
    Schema,
    /// Read the events that were given up, send them once more, or forget them.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLetters),
    /// Read the journal in the data directory of a process that does not run; nothing in it is changed.
    #[command(subcommand)]
    Journal(journal::Journal),
    /// Send finished events that the journal still keeps once more, marked with the attribute `replayed`.
    Replay(replay::Replay),
    /// Print the supervision tree of a running process: each actor's state, restarts, last failure and what waits for it.
    Top(top::Top),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A config file, a directory of them, or a glob; later ones override earlier ones. Without it: VELTRIX_CONFIG, then
    /// ./config/veltrix.yaml, then /etc/veltrix/veltrix.yaml.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) files: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

impl OutputFormat {
    /// The answer as one line of JSON, or as `text` shows it.
    fn of(self, answer: &serde_json::Value, text: impl Fn(&serde_json::Value) -> String) -> String {
        match self {
            Self::Json => format!("{answer}\n"),
            Self::Text => text(answer),
        }
    }
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self, components: &Arc<Components>) -> ExitCode {
        match self.command {
            Command::Run {
                config,
                allow_faults,
                watch,
            } => {
                telemetry::start(self.log_format, self.log_level);
                // Before they are read: what changes from here on is seen.
                let watched = watch.then(|| app::Watched::now(&config.files));
                run::run(run::Start {
                    config,
                    allow_faults,
                    watched: Mutex::new(watched),
                    log_format: self.log_format,
                    components: components.clone(),
                })
            }
            Command::Validate {
                config,
                deny_warnings,
                output,
            } => validate(&config, components, deny_warnings, output),
            Command::Graph(graph) => graph.run(components),
            Command::Test(test) => test.run(components),
            Command::Schema => schema::run(components),
            Command::DeadLetters(what) => what.run(components),
            Command::Journal(what) => {
                telemetry::start(self.log_format, self.log_level);
                what.run(components)
            }
            Command::Replay(replay) => replay.run(components),
            Command::Top(top) => top.run(components),
            Command::Components { kind, output } => {
                components::list(components, kind.as_deref(), output)
            }
        }
    }
}

fn load(
    args: &ConfigArgs,
    components: &Components,
    place: Place,
) -> Result<(Config, Problems), Problems> {
    let files = config::locate(&args.files)?;
    config::load(&files, components, place, config::environment())
}

fn validate(
    args: &ConfigArgs,
    components: &Components,
    deny_warnings: bool,
    output: OutputFormat,
) -> ExitCode {
    let (is_valid, has_faults, problems) = match load(args, components, Place::Here) {
        Ok((config, warnings)) => (
            !deny_warnings || warnings.is_empty(),
            config.faults.is_some(),
            warnings,
        ),
        Err(problems) => (false, false, problems),
    };
    match output {
        OutputFormat::Json => print(&mut io::stdout(), &format!("{}\n", json!(problems))),
        OutputFormat::Text if problems.is_empty() => {
            print(&mut io::stdout(), "the config is valid\n")
        }
        OutputFormat::Text => print(&mut io::stdout(), &problems.to_string()),
    }
    if has_faults && output == OutputFormat::Text {
        print(&mut io::stdout(), FAULTS_NOTED);
    }
    if deny_warnings && !is_valid && !problems.has_errors() && output == OutputFormat::Text {
        print(&mut io::stdout(), WARNINGS_DENIED);
    }
    match is_valid {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(BAD_CONFIG),
    }
}

/// Prints what a running process has answered, or why there is no answer.
fn print_answer(answer: Result<String, AdminError>) -> ExitCode {
    match answer {
        Ok(text) => {
            print(&mut io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print(&mut io::stderr(), &error.to_string());
            error.exit_code()
        }
    }
}

/// Prints data or a message; a reader that went away (`veltrix components | head`) is no failure.
fn print(to: &mut impl Write, text: &str) {
    if let Err(error) = to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        tracing::debug!(%error, "cannot print");
    }
}

/// Events come from anybody: what would steer the terminal is shown and not sent.
fn harmless(text: &str) -> String {
    let shown = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(shown).collect()
}
