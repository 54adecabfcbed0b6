//! What is run: one factor at a time from a stated centre, the repeats of all systems in turn.

use std::collections::BTreeMap;
use std::time::Instant;

use clap::ValueEnum;
use veltrix_story_system::Plant;

use super::capacity::{Capacity, find, find_again};
use super::counting;
use super::results::{Cell, Results, Sustained};
use super::run::{Bench, Measured};
use super::schedule::Arrivals;
use super::setting::{Fault, Setting};
use super::statistics::median;
use super::system::System;

/// Loads, as shares of what A-tuned sustains with the same fan-out and work.
const LOADS: [f64; 4] = [0.3, 0.6, 0.9, 1.2];
/// The load at which fan-outs are compared, and that at which everything else is.
const HIGH: f64 = 0.9;
const MIDDLE: f64 = 0.6;
/// Events a second of a system that has next to nothing to do.
const IDLE_RATE: f64 = 200.0;
/// How long handlers wait for a component downstream, where they do.
const WAIT_US: u64 = 1_000;
/// Events a second while the metrics are tested: few, so that what is planted is all that matters.
const PLANTS_RATE: f64 = 50.0;
/// Events a second beside peers, which is not much for any of them.
const PEERS_RATE: f64 = 2_000.0;
/// Where the first search for a capacity starts.
const GUESS: f64 = 10_000.0;
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

/// Systems that are compared at every point.
const MAIN: [System; 5] = [
    System::ATuned,
    System::BNats,
    System::BRedis,
    System::CMemory,
    System::C,
];
const WITH_ALL_KINDS: [System; 8] = [
    System::ATuned,
    System::ANaive,
    System::BNats,
    System::BRedis,
    System::CMemory,
    System::BJetstream,
    System::BRedisStreams,
    System::C,
];
/// Systems that stand for their kind.
const FEW: [System; 5] = [
    System::ATuned,
    System::BNats,
    System::CMemory,
    System::BJetstream,
    System::C,
];
const ABLATIONS: [System; 4] = [
    System::C,
    System::CMemory,
    System::CNoRetries,
    System::CNoMetrics,
];

/// Runs the plan.
pub(crate) struct Planner<'a> {
    pub(crate) bench: &'a Bench<'a>,
    pub(crate) size: Size,
    /// Runs only these.
    pub(crate) systems: Vec<System>,
    pub(crate) centre: Setting,
    pub(crate) started: Instant,
    pub(crate) results: Results,
}

impl Planner<'_> {
    /// The whole comparison.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        for fan_out in self.size.fan_outs.clone() {
            self.at_fan_out(fan_out)?;
        }
        let middle = self.centre.rate * MIDDLE;
        self.faults(middle)?;
        if self.size.is_full {
            self.around_the_centre(middle)?;
        }
        self.peers()
    }

    /// The null test: the same system under two names.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn run_null(&mut self) -> anyhow::Result<()> {
        let rate = self
            .search(System::ATuned, &self.centre.clone(), GUESS)?
            .rate;
        let systems = [System::ATuned, System::ATunedAgain];
        for share in [MIDDLE, HIGH] {
            let setting = Setting {
                rate: rate * share,
                ..self.centre
            };
            self.cell("null test", &percent(share), setting, &systems)?;
        }
        Ok(())
    }

    /// Allocations for each event of all systems, if this machine has what counts them.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn count_allocations(&mut self, rate_max: f64) -> anyhow::Result<()> {
        let Some(library) = counting::library() else {
            self.progress("allocations are not counted: there is no libmemusage.so");
            return Ok(());
        };
        let systems = if self.size.is_full {
            &WITH_ALL_KINDS[..]
        } else {
            &FEW[..]
        };
        let setting = Setting {
            rate: (self.centre.rate * MIDDLE).min(rate_max),
            ..self.centre
        };
        for system in self.asked(systems) {
            self.progress(&format!("allocations: {}", system.name()));
            let count = counting::per_event(self.bench, system, &setting, &library)?;
            self.results.allocations.insert(system, count);
        }
        Ok(())
    }

    /// The metrics' test: A-tuned with each planted fault.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn run_plants(&mut self) -> anyhow::Result<()> {
        for plant in Plant::value_variants() {
            let setting = Setting {
                rate: PLANTS_RATE,
                plant: *plant,
                ..self.centre
            };
            self.cell("planted", &format!("{plant:?}"), setting, &[System::ATuned])?;
        }
        Ok(())
    }

    fn at_fan_out(&mut self, fan_out: usize) -> anyhow::Result<()> {
        let is_centre = fan_out == self.centre.fan_out;
        let setting = Setting {
            fan_out,
            ..self.centre
        };
        let label = format!("fan-out {fan_out}");
        let systems = if is_centre {
            &WITH_ALL_KINDS[..]
        } else {
            &MAIN[..]
        };
        let rate = self.sustained(&label, &setting, systems)?;
        let at = |share: f64| Setting {
            rate: rate * share,
            ..setting
        };
        self.cell("fan-out, at 90 %", &label, at(HIGH), systems)?;
        if !is_centre {
            return Ok(());
        }
        self.centre.rate = rate;
        for share in LOADS.into_iter().filter(|share| *share != HIGH) {
            if self.size.is_full {
                self.cell("load", &percent(share), at(share), &MAIN)?;
            }
        }
        Ok(())
    }

    fn faults(&mut self, rate: f64) -> anyhow::Result<()> {
        for fault in Fault::ALL {
            let is_alone = !matches!(
                fault,
                Fault::Together | Fault::KillComponent | Fault::KillCentre
            );
            if is_alone && !self.size.is_full {
                continue;
            }
            let setting = Setting {
                // A request for each result costs far more than a line.
                rate: if fault.is_over_http() {
                    rate / 6.0
                } else {
                    rate
                },
                fault,
                ..self.centre
            };
            let mut systems = match fault {
                _ if is_alone || !self.size.is_full => FEW.to_vec(),
                _ => WITH_ALL_KINDS.to_vec(),
            };
            systems.retain(|system| fault != Fault::KillCentre || system.has_centre());
            self.cell("fault, at 60 %", fault.name(), setting, &systems)?;
        }
        Ok(())
    }

    /// Peers beside Veltrix, where handlers pass events on: routing, a slow sink, a kill.
    fn peers(&mut self) -> anyhow::Result<()> {
        let is_peer = |system: &System| matches!(system, System::Peer(_));
        let peers: Vec<System> = self.systems.iter().copied().filter(is_peer).collect();
        if peers.is_empty() {
            return Ok(());
        }
        let systems = [&[System::CMemory, System::C], &peers[..]].concat();
        let setting = Setting {
            is_passing: true,
            ..self.centre
        };
        for fan_out in [1, setting.fan_out] {
            let setting = Setting { fan_out, ..setting };
            self.sustained(
                &format!("passing on, fan-out {fan_out}"),
                &setting,
                &systems,
            )?;
        }
        let setting = Setting {
            rate: PEERS_RATE,
            ..setting
        };
        for fault in [Fault::None, Fault::SlowSink, Fault::KillCentre] {
            let setting = Setting { fault, ..setting };
            self.cell("peers, 2,000 events/s", fault.name(), setting, &systems)?;
        }
        Ok(())
    }

    fn around_the_centre(&mut self, rate: f64) -> anyhow::Result<()> {
        let centre = Setting {
            rate,
            ..self.centre
        };
        let bursts = Setting {
            arrivals: Arrivals::Bursts,
            ..centre
        };
        self.cell("other, at 60 %", "bursts", bursts, &MAIN)?;
        let unpinned = Setting {
            is_pinned: false,
            ..centre
        };
        self.cell("other, at 60 %", "two cores", unpinned, &MAIN)?;
        let rounds = self.centre.rounds;
        for (label, rounds, wait_us) in [
            ("no work", 0, 0),
            ("10 x the work", rounds * 10, 0),
            ("waiting 1 ms", 0, WAIT_US),
            ("work and waiting 1 ms", rounds, WAIT_US),
        ] {
            let setting = Setting {
                rounds,
                wait_us,
                ..self.centre
            };
            let rate = self
                .search(System::ATuned, &setting, self.centre.rate)?
                .rate;
            let setting = Setting {
                rate: rate * MIDDLE,
                ..setting
            };
            self.cell("other, at 60 %", label, setting, &MAIN)?;
        }
        let idle = Setting {
            rate: IDLE_RATE,
            ..centre
        };
        self.cell("idle, 200 events/s", "idle", idle, &MAIN)?;
        let alone = Setting { fan_out: 1, ..idle };
        self.cell("idle, 200 events/s", "idle, fan-out 1", alone, &MAIN)?;
        let high = Setting {
            rate: rate / MIDDLE * HIGH,
            ..centre
        };
        self.cell("ablation, at 90 %", "ablation", high, &ABLATIONS)
    }

    /// What each system sustains; gives the rate of the first, which must be asked for or A-tuned.
    fn sustained(
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
        // A-tuned is needed whether it is asked for or not, if it is there.
        let is_searched = |system: &System| {
            let is_enough =
                self.size.is_full || FEW.contains(system) || matches!(system, System::Peer(_));
            *system == System::ATuned || (is_enough && self.is_asked(*system))
        };
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
        let first = &found[&systems[0]];
        let rates: Vec<f64> = first.iter().map(|capacity| capacity.rate).collect();
        self.results.sustained.push(Sustained {
            label: label.to_owned(),
            found,
        });
        Ok(median(rates))
    }

    fn search(&self, system: System, setting: &Setting, guess: f64) -> anyhow::Result<Capacity> {
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

    fn is_asked(&self, system: System) -> bool {
        self.systems.contains(&system)
    }

    /// Those of `systems` that are asked for.
    fn asked(&self, systems: &[System]) -> Vec<System> {
        let asked = systems.iter().filter(|system| self.is_asked(**system));
        asked.copied().collect()
    }

    fn cell(
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

    fn progress(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs();
        eprintln!("{:>3}:{:02}  {what}", seconds / 60, seconds % 60);
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
