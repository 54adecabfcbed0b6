//! Carries a plan out: searches, the repeats of all systems in turn, and what comes of them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::capacity::{Capacity, find, find_again};
use super::counting;
use super::plan::{Load, Point, Step};
use super::profile;
use super::results::{Cell, Results, Sustained};
use super::run::{Bench, Measured, Probe};
use super::setting::{Setting, Workload};
use super::statistics::median;
use super::system::System;

/// Where the first search for a capacity starts.
const GUESS: f64 = 10_000.0;
/// A search needs many runs, so they are shorter.
pub(crate) const SEARCHED_SHARE: f64 = 0.6;

/// How often things are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Each point, and each search for what a system sustains.
    pub(crate) repeats: usize,
    /// A run whose generator was late is made so often.
    pub(crate) tries: usize,
}

/// Runs systems, and keeps what they showed.
pub(crate) struct Runner<'a> {
    pub(crate) bench: &'a Bench<'a>,
    pub(crate) times: Times,
    /// What A-tuned is taken to sustain, if nobody shall search for it.
    pub(crate) capacity: Option<f64>,
    /// What A-tuned sustains, as far as it is known.
    pub(crate) tuned: BTreeMap<Workload, f64>,
    pub(crate) started: Instant,
    pub(crate) results: Results,
}

impl Runner<'_> {
    /// Carries out one step.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn carry_out(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Sustained {
                label,
                setting,
                systems,
            } => self.sustained(label, setting, systems),
            Step::Points(points) => self.points(points),
            Step::Allocations {
                load,
                setting,
                systems,
            } => self.allocations(*load, setting, systems),
            Step::Profiles {
                load,
                setting,
                systems,
            } => self.profiles(*load, setting, systems),
        }
    }

    /// The setting with the rate that the load comes to.
    fn loaded(&mut self, load: Load, setting: &Setting) -> anyhow::Result<Setting> {
        let rate = match load {
            Load::Rate(rate) => rate,
            Load::Share(share) => share * self.tuned(setting)?,
        };
        Ok(Setting { rate, ..*setting })
    }

    /// What A-tuned sustains, which is searched for if it is not known.
    fn tuned(&mut self, setting: &Setting) -> anyhow::Result<f64> {
        if let Some(rate) = self.capacity {
            return Ok(rate);
        }
        let workload = setting.workload();
        if let Some(rate) = self.tuned.get(&workload) {
            return Ok(*rate);
        }
        let rate = self.search(System::ATuned, setting, GUESS)?.rate;
        self.tuned.insert(workload, rate);
        Ok(rate)
    }

    fn sustained(
        &mut self,
        label: &str,
        setting: &Setting,
        systems: &[System],
    ) -> anyhow::Result<()> {
        if self.capacity.is_some() {
            return Ok(());
        }
        let mut found = BTreeMap::<System, Vec<Capacity>>::new();
        let known = self.tuned.get(&setting.workload());
        let mut guess = known.copied().unwrap_or(GUESS);
        for system in systems.iter().copied() {
            let capacity = self.search(system, setting, guess)?;
            if system == System::ATuned {
                guess = capacity.rate;
            }
            found.insert(system, vec![capacity]);
        }
        for _ in 1..self.times.repeats {
            for (system, capacities) in &mut found {
                self.progress(&format!("sustained rate, {label}: {}", system.name()));
                let setting = searched(setting);
                capacities.push(find_again(self.bench, *system, &setting, capacities[0])?);
            }
        }
        if let Some(capacities) = found.get(&System::ATuned) {
            let rates = capacities.iter().map(|capacity| capacity.rate);
            self.tuned
                .insert(setting.workload(), median(rates.collect()));
        }
        self.results.sustained.push(Sustained {
            label: label.to_owned(),
            found,
        });
        Ok(())
    }

    fn search(&self, system: System, setting: &Setting, guess: f64) -> anyhow::Result<Capacity> {
        self.progress(&format!("sustained rate: {}", system.name()));
        find(self.bench, system, &searched(setting), guess)
    }

    fn points(&mut self, points: &[Point]) -> anyhow::Result<()> {
        let mut cells = Vec::new();
        for point in points {
            cells.push(Cell {
                section: point.section,
                label: point.label.clone(),
                setting: self.loaded(point.load, &point.setting)?,
                runs: BTreeMap::new(),
            });
        }
        for repeat in 0..self.times.repeats {
            for (point, cell) in points.iter().zip(&mut cells) {
                self.repeat(repeat, &point.systems, cell)?;
            }
        }
        self.results.cells.append(&mut cells);
        Ok(())
    }

    fn repeat(&self, repeat: usize, systems: &[System], cell: &mut Cell) -> anyhow::Result<()> {
        // Each repeat begins with another system, so that none is always the one after a pause.
        for index in 0..systems.len() {
            let system = systems[(index + repeat) % systems.len()];
            self.progress(&format!(
                "{}, {}: {} ({} of {})",
                cell.section,
                cell.label,
                system.name(),
                repeat + 1,
                self.times.repeats
            ));
            let setting = Setting {
                seed: cell.setting.seed + repeat as u64,
                ..cell.setting
            };
            let run = self.valid_run(system, &setting)?;
            cell.runs.entry(system).or_default().push(run);
        }
        Ok(())
    }

    /// A run whose generator kept its schedule, or after some tries the one that came closest.
    fn valid_run(&self, system: System, setting: &Setting) -> anyhow::Result<Measured> {
        let mut best = self.bench.run(system, setting)?;
        for _ in 1..self.times.tries {
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

    /// Allocations for each event, if this machine has what counts them.
    fn allocations(
        &mut self,
        load: Load,
        setting: &Setting,
        systems: &[System],
    ) -> anyhow::Result<()> {
        let Some(library) = counting::library() else {
            self.progress("allocations are not counted: there is no libmemusage.so");
            return Ok(());
        };
        let setting = self.loaded(load, setting)?;
        for system in systems.iter().copied() {
            self.progress(&format!("allocations: {}", system.name()));
            let count = counting::per_event(self.bench, system, &setting, &library)?;
            self.results.allocations.insert(system, count);
        }
        Ok(())
    }

    /// What the CPU goes to, if this machine has what looks.
    fn profiles(
        &mut self,
        load: Load,
        setting: &Setting,
        systems: &[System],
    ) -> anyhow::Result<()> {
        if !profile::is_possible() {
            self.progress("there are no profiles: this machine has no perf");
            return Ok(());
        }
        let setting = self.loaded(load, setting)?;
        for system in systems.iter().copied() {
            self.progress(&format!("profile: {}", system.name()));
            let run = self.bench.run_with(system, &setting, Probe::Profile)?;
            if let Some(shares) = run.profile {
                let us_per_event = run.cpu_ns as f64 / 1e3 / run.events.max(1) as f64;
                let parts = shares.map(|share| share * us_per_event);
                self.results.profiles.insert(system, parts);
            }
        }
        Ok(())
    }

    fn progress(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs();
        eprintln!("{:>3}:{:02}  {what}", seconds / 60, seconds % 60);
    }
}

fn searched(setting: &Setting) -> Setting {
    Setting {
        seconds: setting.seconds * SEARCHED_SHARE,
        warm_up: setting.warm_up * SEARCHED_SHARE,
        ..*setting
    }
}
