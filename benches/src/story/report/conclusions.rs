//! What the figures say, in sentences: the goals of the comparison, and every point at which Veltrix is the worse one.

use veltrix_story_system::Plant;

use super::super::figures::Figure;
use super::super::plan;
use super::super::results::{Cell, Results};
use super::super::statistics::mean_ratio;
use super::super::system::System;
use super::table::number;

/// What Veltrix is to be of A-tuned, as a ratio, in the mean over the fan-outs at 90 % load (issue 6, Show 1).
const GOALS: [(Figure, f64); 4] = [
    (Figure::MeanMs, 0.5),
    (Figure::P50Ms, 0.5),
    (Figure::CpuSecondsPerMillion, 0.6),
    (Figure::ProportionalMib, 0.5),
];
const SUSTAINED_GOAL: f64 = 2.0;
const ERRORS_GOAL: f64 = 0.1;
const ALLOCATIONS_GOAL: f64 = 0.1;
/// Who is compared with whom at equal durability.
const PAIRS: [(System, System); 5] = [
    (System::CMemory, System::ATuned),
    (System::CMemory, System::BNats),
    (System::CMemory, System::BRedis),
    (System::C, System::BJetstream),
    (System::C, System::BRedisStreams),
];

pub(super) fn of(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    for system in [System::CMemory, System::C] {
        goals(results, system, &mut lines);
    }
    for (ours, theirs) in PAIRS {
        losses(results, ours, theirs, &mut lines);
    }
    lines.extend(null(results));
    plants(results, &mut lines);
    lines
}

/// What the metrics' test found, if it was made: where each plant shows, beside a run without one.
fn plants(results: &Results, lines: &mut Vec<String>) {
    let is_clean = |cell: &&Cell| cell.setting.plant == Plant::None;
    let Some(clean) = results.section(plan::PLANTED).find(is_clean) else {
        return;
    };
    for cell in results.section(plan::PLANTED) {
        let right = right_figures(cell.setting.plant);
        let mut found = Vec::new();
        for figure in Figure::ALL {
            let planted = cell.estimate(System::ATuned, figure);
            let Some((planted, clean)) = planted.zip(clean.estimate(System::ATuned, figure)) else {
                continue;
            };
            let shows = planted.is_above(&clean) || clean.is_above(&planted);
            match (shows, right.contains(&figure)) {
                (true, true) => found.push(figure.name().to_owned()),
                (true, false) => found.push(format!("{}, which is wrong", figure.name())),
                (false, true) => found.push(format!("not {}, which is wrong", figure.name())),
                (false, false) => {}
            }
        }
        if !found.is_empty() {
            lines.push(format!(
                "planted: {} shows in {}",
                cell.label,
                found.join(", ")
            ));
        }
    }
}

/// Where a plant is to show. Half of the results come as fast as ever when one in ten comes later.
fn right_figures(plant: Plant) -> &'static [Figure] {
    match plant {
        Plant::None => &[],
        Plant::Delay => &[Figure::MeanMs, Figure::P99Ms, Figure::P999Ms],
        Plant::Loss | Plant::Duplicate | Plant::Wrong => &[Figure::ErrorsPercent],
        Plant::Leak => &[Figure::ProportionalMib, Figure::PeakMib],
        Plant::BusyLoop => &[Figure::CpuSecondsPerMillion],
    }
}

/// What the null test found, if it was made: how many intervals of the same system under two names overlap.
fn null(results: &Results) -> Option<String> {
    let pair = |cell: &Cell, figure: Figure| {
        let again = cell.estimate(System::ATunedAgain, figure)?;
        Some((cell.estimate(System::ATuned, figure)?, again))
    };
    let mut pairs = Vec::new();
    for cell in results.section(plan::NULL) {
        let figures = Figure::ALL.into_iter();
        pairs.extend(figures.filter_map(|figure| {
            let (first, again) = pair(cell, figure)?;
            Some((format!("{} at {}", figure.name(), cell.label), first, again))
        }));
    }
    for found in &results.sustained {
        let again = found.estimate(System::ATunedAgain);
        if let (Some(first), Some(again)) = (found.estimate(System::ATuned), again) {
            pairs.push(("sustained rate".to_owned(), first, again));
        }
    }
    let differing: Vec<&str> = pairs
        .iter()
        .filter(|(_, first, again)| first.is_above(again) || again.is_above(first))
        .map(|(name, _, _)| name.as_str())
        .collect();
    (!pairs.is_empty()).then(|| {
        let overlapping = pairs.len() - differing.len();
        let but = match differing.is_empty() {
            true => String::new(),
            false => format!("; not {}", differing.join(", ")),
        };
        let count = pairs.len();
        format!("null test: the intervals of {overlapping} of {count} figures overlap{but}")
    })
}

fn goals(results: &Results, system: System, lines: &mut Vec<String>) {
    let name = format!("{} against A-tuned", system.name());
    let fan_outs: Vec<&Cell> = results.section(plan::AT_FAN_OUTS).collect();
    for (figure, goal) in GOALS {
        let ratios: Vec<f64> = fan_outs
            .iter()
            .filter_map(|cell| ratio(cell, system, figure))
            .collect();
        if let Some(mean) = mean_ratio(&ratios) {
            lines.push(goal_line(
                &name,
                &format!("{}, mean over fan-outs at 90 % load", figure.name()),
                mean,
                goal,
                mean <= goal,
            ));
        }
    }
    let sustained: Vec<f64> = results
        .sustained
        .iter()
        .filter_map(|found| {
            Some(found.estimate(system)?.median / found.estimate(System::ATuned)?.median)
        })
        .collect();
    if let Some(mean) = mean_ratio(&sustained) {
        lines.push(goal_line(
            &name,
            "sustained rate, mean over fan-outs",
            mean,
            SUSTAINED_GOAL,
            mean >= SUSTAINED_GOAL,
        ));
    }
    for cell in results.section(plan::FAULTS) {
        if let Some(ratio) = ratio(cell, system, Figure::ErrorsPercent) {
            lines.push(goal_line(
                &name,
                &format!("errors with {}", cell.label),
                ratio,
                ERRORS_GOAL,
                ratio <= ERRORS_GOAL,
            ));
        }
    }
    let allocations = |system: System| results.allocations.get(&system).copied();
    if let (Some(ours), Some(theirs)) = (allocations(system), allocations(System::ATuned)) {
        let ratio = ours / theirs;
        lines.push(goal_line(
            &name,
            "allocations an event",
            ratio,
            ALLOCATIONS_GOAL,
            ratio <= ALLOCATIONS_GOAL,
        ));
    }
}

fn goal_line(name: &str, what: &str, ratio: f64, goal: f64, is_met: bool) -> String {
    let verdict = if is_met { "met" } else { "missed" };
    format!(
        "{name}: {what} {:+.0} % (goal {:+.0} %): {verdict}",
        (ratio - 1.0) * 100.0,
        (goal - 1.0) * 100.0
    )
}

fn ratio(cell: &Cell, system: System, figure: Figure) -> Option<f64> {
    let ours = cell.estimate(system, figure)?.median;
    let theirs = cell.estimate(System::ATuned, figure)?.median;
    (theirs > 0.0).then(|| ours / theirs)
}

/// The points at which the whole interval of a figure is worse than the whole of the other's.
fn losses(results: &Results, ours: System, theirs: System, lines: &mut Vec<String>) {
    let compared = [
        Figure::MeanMs,
        Figure::P50Ms,
        Figure::P99Ms,
        Figure::ErrorsPercent,
        Figure::CpuSecondsPerMillion,
        Figure::ProportionalMib,
        Figure::RecoveryMs,
    ];
    for figure in compared {
        let mut points = Vec::new();
        let mut cells = 0;
        for cell in &results.cells {
            if let (Some(mine), Some(other)) =
                (cell.estimate(ours, figure), cell.estimate(theirs, figure))
            {
                cells += 1;
                if mine.is_above(&other) {
                    points.push(format!(
                        "{} ({} against {})",
                        cell.label,
                        number(mine.median),
                        number(other.median)
                    ));
                }
            }
        }
        if !points.is_empty() {
            lines.push(format!(
                "{} loses to {} in {} at {} of {cells} points: {}",
                ours.name(),
                theirs.name(),
                figure.name(),
                points.len(),
                points.join(", ")
            ));
        }
    }
}
