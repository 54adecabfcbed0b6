//! What is run, as data: one factor at a time from a stated centre. `runner` carries it out, `estimate` says how long it takes.

use clap::ValueEnum;
use veltrix_story_system::Plant;

use super::schedule::Arrivals;
use super::setting::{Fault, Setting};
use super::system::System;

/// Loads, as shares of what A-tuned sustains with the same fan-out and work.
const LOADS: [f64; 4] = [0.3, 0.6, 0.9, 1.2];
/// The load at which fan-outs are compared, and that at which everything else is.
const HIGH: f64 = 0.9;
const MIDDLE: f64 = 0.6;
/// The load where each result is a request, which costs far more than a line.
const OVER_HTTP: f64 = 0.1;
/// Events a second of a system that has next to nothing to do.
const IDLE_RATE: f64 = 200.0;
/// How long handlers wait for a component downstream, where they do.
const WAIT_US: u64 = 1_000;
/// Events a second while the metrics are tested: few, so that what is planted is all that matters.
const PLANTS_RATE: f64 = 100.0;
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

/// How many events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// This share of what A-tuned sustains with the same fan-out and work.
    Share(f64),
    Rate(f64),
}

/// All repeats of one point of the plan, the systems in turn. Its setting's rate follows from the load.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) section: &'static str,
    pub(crate) label: String,
    pub(crate) load: Load,
    pub(crate) setting: Setting,
    pub(crate) systems: Vec<System>,
}

/// What is done next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Search for what each system sustains.
    Sustained {
        label: String,
        setting: Setting,
        systems: Vec<System>,
    },
    /// Points whose repeats are made in turn.
    Points(Vec<Point>),
    /// Count each system's allocations.
    Allocations {
        load: Load,
        setting: Setting,
        systems: Vec<System>,
    },
    /// Look what each system's CPU goes to.
    Profiles {
        load: Load,
        setting: Setting,
        systems: Vec<System>,
    },
}

impl Step {
    /// The systems of each of its parts.
    pub(crate) fn systems_mut(&mut self) -> Vec<&mut Vec<System>> {
        match self {
            Self::Points(points) => points.iter_mut().map(|point| &mut point.systems).collect(),
            Self::Sustained { systems, .. }
            | Self::Allocations { systems, .. }
            | Self::Profiles { systems, .. } => vec![systems],
        }
    }
}

/// The whole comparison, beside `peers` that handlers which pass events on are compared with.
pub(crate) fn whole(centre: Setting, peers: &[System]) -> Vec<Step> {
    let mut steps = Vec::new();
    for fan_out in [1, 2, 4, 6] {
        at_fan_out(centre, fan_out, &mut steps);
    }
    steps.extend(
        LOADS
            .into_iter()
            .filter(|share| *share != HIGH)
            .map(|share| point("load", percent(share), Load::Share(share), centre, &MAIN)),
    );
    for fault in Fault::ALL {
        let systems = match fault {
            Fault::Together | Fault::KillComponent | Fault::KillCentre => &WITH_ALL_KINDS[..],
            _ => &FEW[..],
        };
        steps.push(at_fault(centre, fault, systems));
    }
    around_the_centre(centre, &mut steps);
    beside_peers(centre, peers, &mut steps);
    steps.extend(inside(centre, &WITH_ALL_KINDS));
    steps
}

/// Only what shows that all of it works.
pub(crate) fn quick(centre: Setting, peers: &[System]) -> Vec<Step> {
    let label = fan_out_label(centre.fan_out);
    let mut steps = vec![
        Step::Sustained {
            label: label.clone(),
            setting: centre,
            systems: vec![System::ATuned, System::CMemory, System::C],
        },
        point(AT_FAN_OUTS, label, Load::Share(HIGH), centre, &System::ALL),
    ];
    for fault in [Fault::Together, Fault::KillComponent, Fault::KillCentre] {
        steps.push(at_fault(centre, fault, &FEW));
    }
    beside_peers(centre, peers, &mut steps);
    steps.extend(inside(centre, &FEW));
    steps
}

/// The null test: the same system under two names.
pub(crate) fn null(centre: Setting) -> Vec<Step> {
    let systems = [System::ATuned, System::ATunedAgain];
    let mut steps = vec![Step::Sustained {
        label: fan_out_label(centre.fan_out),
        setting: centre,
        systems: systems.to_vec(),
    }];
    for share in [MIDDLE, HIGH] {
        let load = Load::Share(share);
        steps.push(point(NULL, percent(share), load, centre, &systems));
    }
    steps
}

/// The metrics' test: A-tuned with each planted fault.
pub(crate) fn plants(centre: Setting) -> Vec<Step> {
    let planted = |plant: &Plant| Point {
        section: PLANTED,
        label: format!("{plant:?}"),
        load: Load::Rate(PLANTS_RATE),
        setting: Setting {
            plant: *plant,
            ..centre
        },
        systems: vec![System::ATuned],
    };
    vec![Step::Points(
        Plant::value_variants().iter().map(planted).collect(),
    )]
}

/// Sections that conclusions are drawn from.
pub(crate) const AT_FAN_OUTS: &str = "fan-out, at 90 %";
pub(crate) const FAULTS: &str = "fault, at 60 %";
pub(crate) const NULL: &str = "null test";
pub(crate) const PLANTED: &str = "planted";
const AROUND: &str = "other, at 60 %";
const IDLE: &str = "idle, 200 events/s";

fn point(
    section: &'static str,
    label: impl Into<String>,
    load: Load,
    setting: Setting,
    systems: &[System],
) -> Step {
    Step::Points(vec![Point {
        section,
        label: label.into(),
        load,
        setting,
        systems: systems.to_vec(),
    }])
}

fn fan_out_label(fan_out: usize) -> String {
    format!("fan-out {fan_out}")
}

fn at_fan_out(centre: Setting, fan_out: usize, steps: &mut Vec<Step>) {
    let setting = Setting { fan_out, ..centre };
    let systems = match fan_out == centre.fan_out {
        true => &WITH_ALL_KINDS[..],
        false => &MAIN[..],
    };
    let label = fan_out_label(fan_out);
    steps.push(Step::Sustained {
        label: label.clone(),
        setting,
        systems: systems.to_vec(),
    });
    steps.push(point(
        AT_FAN_OUTS,
        label,
        Load::Share(HIGH),
        setting,
        systems,
    ));
}

fn at_fault(centre: Setting, fault: Fault, systems: &[System]) -> Step {
    let setting = Setting { fault, ..centre };
    let load = Load::Share(match fault.is_over_http() {
        true => OVER_HTTP,
        false => MIDDLE,
    });
    let mut systems = systems.to_vec();
    systems.retain(|system| fault != Fault::KillCentre || system.has_centre());
    point(FAULTS, fault.name(), load, setting, &systems)
}

fn around_the_centre(centre: Setting, steps: &mut Vec<Step>) {
    let middle = Load::Share(MIDDLE);
    let bursts = Setting {
        arrivals: Arrivals::Bursts,
        ..centre
    };
    let unpinned = Setting {
        is_pinned: false,
        ..centre
    };
    steps.push(point(AROUND, "bursts", middle, bursts, &MAIN));
    steps.push(point(AROUND, "two cores", middle, unpinned, &MAIN));
    let rounds = centre.rounds;
    for (label, rounds, wait_us) in [
        ("no work", 0, 0),
        ("10 x the work", rounds * 10, 0),
        ("waiting 1 ms", 0, WAIT_US),
        ("work and waiting 1 ms", rounds, WAIT_US),
    ] {
        let setting = Setting {
            rounds,
            wait_us,
            ..centre
        };
        steps.push(point(AROUND, label, middle, setting, &MAIN));
    }
    let alone = Setting {
        fan_out: 1,
        ..centre
    };
    let idle = Load::Rate(IDLE_RATE);
    steps.push(point(IDLE, "idle", idle, centre, &MAIN));
    steps.push(point(IDLE, "idle, fan-out 1", idle, alone, &MAIN));
    let high = Load::Share(HIGH);
    steps.push(point(
        "ablation, at 90 %",
        "ablation",
        high,
        centre,
        &ABLATIONS,
    ));
}

/// Peers beside Veltrix, where handlers pass events on: routing, a slow sink, a kill.
fn beside_peers(centre: Setting, peers: &[System], steps: &mut Vec<Step>) {
    if peers.is_empty() {
        return;
    }
    let systems = [&[System::CMemory, System::C], peers].concat();
    let passing = Setting {
        is_passing: true,
        ..centre
    };
    for fan_out in [1, centre.fan_out] {
        steps.push(Step::Sustained {
            label: format!("passing on, fan-out {fan_out}"),
            setting: Setting { fan_out, ..passing },
            systems: systems.clone(),
        });
    }
    for fault in [Fault::None, Fault::SlowSink, Fault::KillCentre] {
        let setting = Setting { fault, ..passing };
        let load = Load::Rate(PEERS_RATE);
        steps.push(point(
            "peers, 2,000 events/s",
            fault.name(),
            load,
            setting,
            &systems,
        ));
    }
}

/// Runs of their own, because looking costs the system something.
fn inside(centre: Setting, systems: &[System]) -> [Step; 2] {
    let systems = systems.to_vec();
    [
        Step::Allocations {
            load: Load::Share(MIDDLE),
            setting: centre,
            systems: systems.clone(),
        },
        Step::Profiles {
            load: Load::Share(MIDDLE),
            setting: centre,
            systems,
        },
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn centre() -> Setting {
        Setting {
            fan_out: 4,
            rounds: 10,
            is_pinned: true,
            ..Setting::of_one_round()
        }
    }

    /// How many factors of a point are not the centre's. What handlers do is one of them.
    fn factors_changed(point: &Point) -> usize {
        let (setting, centre) = (&point.setting, centre());
        let changes = [
            setting.fan_out != centre.fan_out,
            (setting.rounds, setting.wait_us) != (centre.rounds, centre.wait_us),
            setting.arrivals != centre.arrivals,
            setting.fault != centre.fault,
            setting.is_pinned != centre.is_pinned,
            !matches!(point.load, Load::Share(MIDDLE | HIGH)) && !setting.fault.is_over_http(),
        ];
        changes.into_iter().filter(|is_changed| *is_changed).count()
    }

    #[test]
    fn one_factor_at_a_time_is_varied_but_for_the_idle_system_with_one_component() {
        let steps = whole(centre(), &[]);
        let points = steps.iter().filter_map(|step| match step {
            Step::Points(points) => Some(points),
            _ => None,
        });
        let mut count = 0;
        for point in points.flatten() {
            let most = if point.label == "idle, fan-out 1" {
                2
            } else {
                1
            };
            assert!(factors_changed(point) <= most, "{point:?}");
            assert!(point.systems.len() > 1, "{point:?}");
            count += 1;
        }
        assert_eq!(count, 4 + 3 + 8 + 9);
    }

    #[test]
    fn peers_stand_only_beside_veltrix() {
        let peer = System::Peer(crate::story::peer::Peer::Vector);
        let mut steps = quick(centre(), &[peer]);
        let with_peer = steps
            .iter_mut()
            .flat_map(Step::systems_mut)
            .filter(|systems| systems.contains(&peer));
        assert!(with_peer.map(|systems| systems.len()).eq([3; 5]));
    }
}
