//! `veltrix test`: runs the tests that stand in a config.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{BAD_CONFIG, ConfigArgs, OutputFormat, load, print};
use crate::components::Components;
use crate::config::{Config, Place};
use crate::handlers::exec::KillOnExit;
use crate::testbed;

/// Which tests, and where the report goes.
#[derive(Debug, clap::Args)]
pub(super) struct Test {
    #[command(flatten)]
    config: ConfigArgs,

    /// Only tests with this in their name.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// A file for the report as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// A line for each test as it ends, or all of them as JSON in the end.
    #[arg(short, long, value_enum, default_value = "text")]
    output: OutputFormat,
}

impl Test {
    /// Runs them: 0 if all pass, 1 if one fails or there is none.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        match load(&self.config, components, Place::Elsewhere) {
            Ok((config, _)) => self.run_all(&config),
            Err(problems) => {
                print(&mut io::stderr(), &problems.to_string());
                ExitCode::from(BAD_CONFIG)
            }
        }
    }

    fn run_all(&self, config: &Config) -> ExitCode {
        let filter = self.filter.as_deref().unwrap_or_default();
        let wanted = config
            .tests
            .iter()
            .filter(|case| case.name.contains(filter));
        // Not one a test: none may be started after the first is dropped.
        let _children = KillOnExit;
        let mut outcomes = Vec::new();
        for case in wanted {
            let outcome = testbed::run(config, case);
            if self.output == OutputFormat::Text {
                print(&mut io::stdout(), &testbed::text(&outcome));
            }
            outcomes.push(outcome);
        }
        let left_out = config.tests.len() - outcomes.len();
        if self.output == OutputFormat::Json {
            let report = testbed::json(&outcomes, left_out);
            print(&mut io::stdout(), &format!("{report}\n"));
        }
        if outcomes.is_empty() {
            let what = if config.tests.is_empty() {
                "the config has no tests"
            } else {
                "no test has that in its name"
            };
            print(&mut io::stderr(), &format!("error: {what}\n"));
            return ExitCode::FAILURE;
        }
        if self.output == OutputFormat::Text {
            print(&mut io::stdout(), &testbed::summary(&outcomes, left_out));
        }
        if let Some(path) = &self.junit {
            let report = testbed::junit(&config.service.name, &outcomes);
            if let Err(error) = std::fs::write(path, report) {
                let path = path.display();
                print(
                    &mut io::stderr(),
                    &format!("error: cannot write {path}: {error}\n"),
                );
                return ExitCode::FAILURE;
            }
        }
        match outcomes.iter().all(|outcome| outcome.failures.is_empty()) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
