//! What all runs share: the binary, where rounds have their folders, and what becomes of those.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::report::Report;
use crate::setup::Setup;
use crate::stage::{Load, Outcome};

/// What all runs share.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The binary under test.
    pub binary: PathBuf,
    /// A folder that exists; each round has one of its own below.
    pub folder: PathBuf,
    /// The number that decides what can be decided.
    pub seed: u64,
    /// The config.
    pub setup: Setup,
    /// The clients.
    pub load: Load,
    /// Whether to keep the folders of good rounds too.
    pub keeps_folders: bool,
    /// Whether to say how far a run is.
    pub is_talkative: bool,
}

impl Ground {
    /// The seed of a round: with it as the seed of a run, that is the run's first round.
    pub(crate) fn round_seed(&self, round: u64) -> u64 {
        self.seed.wrapping_add(round)
    }

    /// A round's folder.
    pub(crate) fn round_folder(&self, round: u64) -> PathBuf {
        self.folder
            .join(format!("round-{}", self.round_seed(round)))
    }

    /// Says how far a run is.
    pub(crate) fn say(&self, line: &str) {
        if self.is_talkative {
            drop(writeln!(std::io::stderr(), "{line}"));
        }
    }

    /// Takes a round's outcome into the report. The folder of a good one is removed; that of a bad one is kept, with
    /// what its processes left in `work`.
    pub(crate) fn close_round(
        &self,
        round: u64,
        outcome: anyhow::Result<Outcome>,
        work: &Path,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let folder = self.round_folder(round);
        let violations = match outcome {
            Ok(outcome) => {
                report.add(&outcome);
                outcome.violations
            }
            Err(error) => vec![format!("{error:#}")],
        };
        if violations.is_empty() && !self.keeps_folders {
            return std::fs::remove_dir_all(&folder).context("a round's folder");
        }
        if !work.starts_with(&folder) {
            let kept = Command::new("cp")
                .arg("-a")
                .arg(work)
                .arg(folder.join("work"))
                .status();
            kept.context("cp -a")?;
        }
        for violation in violations {
            self.say(&format!("seed {}: {violation}", self.round_seed(round)));
            report.violate(self.round_seed(round), violation, &folder);
        }
        Ok(())
    }
}
