//! Carries a plan out: searches, the repeats of all systems in turn, and what comes of them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::capacity::{Capacity, find, find_again};
use super::results::{Cell, Results, Sustained};
use super::run::{Bench, Measured};
use super::setting::Setting;
use super::statistics::median;
use super::system::System;

/// Where the first search for a capacity starts.
pub(crate) const GUESS: f64 = 10_000.0;
/// A run whose generator was late is made again so often.
const TRIES_MAX: usize = 3;

/// How much is run.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) repeats: usize,
    pub(crate) fan_outs: Vec<usize>,
    /// What A-tuned is taken to sustain, if nobody shall search for it.
    pub(crate) capacity: Option<f64>,
    /// How often capacities are searched for.
    pub(crate) searches: usize,
    /// Everything, or only what shows that all works.
    pub(crate) is_full: bool,
}

/// Runs systems, and keeps what they showed.
pub(crate) struct Runner<'a> {
    pub(crate) bench: &'a Bench<'a>,
    pub(crate) size: Size,
    /// Runs only these.
    pub(crate) systems: Vec<System>,
    pub(crate) started: Instant,
    pub(crate) results: Results,
}

impl Runner<'_> {
    /// What each system sustains; gives A-tuned's rate.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn sustained(
        &mut self,
        label: &str,
        setting: &Setting,
        systems: &[System],
    ) -> anyhow::Result<f64> {
        if let Some(rate) = self.size.capacity {
            return Ok(rate);
        }
        let mut found = BTreeMap::<System, Vec<Capacity>>::new();
        let mut guess = GUESS;
        // A-tuned is the measure of all, whether it is asked for or not.
        let is_searched =
            |system: &System| *system == System::ATuned || self.systems.contains(system);
        for system in systems.iter().copied().filter(is_searched) {
            let capacity = self.search(system, setting, guess)?;
            if system == System::ATuned {
                guess = capacity.rate;
            }
            found.insert(system, vec![capacity]);
        }
        for _ in 1..self.size.searches {
            for (system, capacities) in &mut found {
                self.progress(&format!("sustained rate, {label}: {}", system.name()));
                let setting = self.searched(setting);
                capacities.push(find_again(self.bench, *system, &setting, capacities[0])?);
            }
        }
        let tuned = found.get(&System::ATuned).into_iter().flatten();
        let rates: Vec<f64> = tuned.map(|capacity| capacity.rate).collect();
        self.results.sustained.push(Sustained {
            label: label.to_owned(),
            found,
        });
        Ok(if rates.is_empty() {
            GUESS
        } else {
            median(rates)
        })
    }

    /// What one system sustains.
    ///
    /// # Errors
    /// If the system breaks.
    pub(crate) fn search(
        &self,
        system: System,
        setting: &Setting,
        guess: f64,
    ) -> anyhow::Result<Capacity> {
        if let Some(rate) = self.size.capacity {
            return Ok(Capacity {
                rate,
                is_ours: false,
            });
        }
        self.progress(&format!("sustained rate: {}", system.name()));
        find(self.bench, system, &self.searched(setting), guess)
    }

    /// A search needs many runs, so they are shorter.
    fn searched(&self, setting: &Setting) -> Setting {
        Setting {
            seconds: setting.seconds * 0.6,
            warm_up: setting.warm_up * 0.6,
            ..*setting
        }
    }

    /// Those of `systems` that are asked for.
    pub(crate) fn asked(&self, systems: &[System]) -> Vec<System> {
        let asked = systems
            .iter()
            .filter(|system| self.systems.contains(system));
        asked.copied().collect()
    }

    /// All repeats of one point of the plan.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn cell(
        &mut self,
        section: &str,
        label: &str,
        setting: Setting,
        systems: &[System],
    ) -> anyhow::Result<()> {
        let systems = self.asked(systems);
        let mut runs = BTreeMap::<System, Vec<Measured>>::new();
        for repeat in 0..self.size.repeats {
            // Each repeat begins with another system, so that none is always the one after a pause.
            for index in 0..systems.len() {
                let system = systems[(index + repeat) % systems.len()];
                self.progress(&format!(
                    "{section}, {label}: {} ({} of {})",
                    system.name(),
                    repeat + 1,
                    self.size.repeats
                ));
                let setting = Setting {
                    seed: setting.seed + repeat as u64,
                    ..setting
                };
                runs.entry(system)
                    .or_default()
                    .push(self.valid_run(system, &setting)?);
            }
        }
        self.results.cells.push(Cell {
            section: section.to_owned(),
            label: label.to_owned(),
            setting,
            runs,
        });
        Ok(())
    }

    /// A run whose generator kept its schedule, or after some tries the one that came closest.
    fn valid_run(&self, system: System, setting: &Setting) -> anyhow::Result<Measured> {
        let mut best = self.bench.run(system, setting)?;
        // Where only breakage matters, once is enough.
        let tries = if self.size.is_full { TRIES_MAX } else { 1 };
        for _ in 1..tries {
            if best.is_valid() {
                break;
            }
            let run = self.bench.run(system, setting)?;
            if run.slip < best.slip {
                best = run;
            }
        }
        Ok(best)
    }

    pub(crate) fn progress(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs();
        eprintln!("{:>3}:{:02}  {what}", seconds / 60, seconds % 60);
    }
}
