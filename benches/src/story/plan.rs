//! What is run: one factor at a time from a stated centre, the repeats of all systems in turn.

use clap::ValueEnum;
use veltrix_story_system::Plant;

use super::counting;
use super::runner::{GUESS, Runner};
use super::schedule::Arrivals;
use super::setting::{Fault, Setting};
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

/// Knows what is to be run.
pub(crate) struct Planner<'a> {
    pub(crate) runner: Runner<'a>,
    pub(crate) centre: Setting,
}

impl Planner<'_> {
    /// The whole comparison.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        for fan_out in self.runner.size.fan_outs.clone() {
            self.at_fan_out(fan_out)?;
        }
        let middle = self.centre.rate * MIDDLE;
        self.faults(middle)?;
        if self.runner.size.is_full {
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
            .runner
            .search(System::ATuned, &self.centre.clone(), GUESS)?
            .rate;
        let systems = [System::ATuned, System::ATunedAgain];
        self.runner.systems = systems.to_vec();
        for share in [MIDDLE, HIGH] {
            let setting = Setting {
                rate: rate * share,
                ..self.centre
            };
            self.runner
                .cell("null test", &percent(share), setting, &systems)?;
        }
        Ok(())
    }

    /// Allocations for each event of all systems, if this machine has what counts them.
    ///
    /// # Errors
    /// If a system breaks.
    pub(crate) fn count_allocations(&mut self, rate_max: f64) -> anyhow::Result<()> {
        let Some(library) = counting::library() else {
            self.runner
                .progress("allocations are not counted: there is no libmemusage.so");
            return Ok(());
        };
        let systems = if self.runner.size.is_full {
            &WITH_ALL_KINDS[..]
        } else {
            &FEW[..]
        };
        let setting = Setting {
            rate: (self.centre.rate * MIDDLE).min(rate_max),
            ..self.centre
        };
        for system in self.runner.asked(systems) {
            self.runner
                .progress(&format!("allocations: {}", system.name()));
            let count = counting::per_event(self.runner.bench, system, &setting, &library)?;
            self.runner.results.allocations.insert(system, count);
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
            self.runner
                .cell("planted", &format!("{plant:?}"), setting, &[System::ATuned])?;
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
        let searched = if self.runner.size.is_full {
            systems
        } else {
            &FEW[..]
        };
        let rate = self.runner.sustained(&label, &setting, searched)?;
        let at = |share: f64| Setting {
            rate: rate * share,
            ..setting
        };
        self.runner
            .cell("fan-out, at 90 %", &label, at(HIGH), systems)?;
        if !is_centre {
            return Ok(());
        }
        self.centre.rate = rate;
        for share in LOADS.into_iter().filter(|share| *share != HIGH) {
            if self.runner.size.is_full {
                self.runner
                    .cell("load", &percent(share), at(share), &MAIN)?;
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
            if is_alone && !self.runner.size.is_full {
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
                _ if is_alone || !self.runner.size.is_full => FEW.to_vec(),
                _ => WITH_ALL_KINDS.to_vec(),
            };
            systems.retain(|system| fault != Fault::KillCentre || system.has_centre());
            self.runner
                .cell("fault, at 60 %", fault.name(), setting, &systems)?;
        }
        Ok(())
    }

    /// Peers beside Veltrix, where handlers pass events on: routing, a slow sink, a kill.
    fn peers(&mut self) -> anyhow::Result<()> {
        let is_peer = |system: &System| matches!(system, System::Peer(_));
        let peers: Vec<System> = self
            .runner
            .systems
            .iter()
            .copied()
            .filter(is_peer)
            .collect();
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
            self.runner.sustained(
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
            self.runner
                .cell("peers, 2,000 events/s", fault.name(), setting, &systems)?;
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
        self.runner
            .cell("other, at 60 %", "bursts", bursts, &MAIN)?;
        let unpinned = Setting {
            is_pinned: false,
            ..centre
        };
        self.runner
            .cell("other, at 60 %", "two cores", unpinned, &MAIN)?;
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
                .runner
                .search(System::ATuned, &setting, self.centre.rate)?
                .rate;
            let setting = Setting {
                rate: rate * MIDDLE,
                ..setting
            };
            self.runner.cell("other, at 60 %", label, setting, &MAIN)?;
        }
        let idle = Setting {
            rate: IDLE_RATE,
            ..centre
        };
        self.runner
            .cell("idle, 200 events/s", "idle", idle, &MAIN)?;
        let alone = Setting { fan_out: 1, ..idle };
        self.runner
            .cell("idle, 200 events/s", "idle, fan-out 1", alone, &MAIN)?;
        let high = Setting {
            rate: rate / MIDDLE * HIGH,
            ..centre
        };
        self.runner
            .cell("ablation, at 90 %", "ablation", high, &ABLATIONS)
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
