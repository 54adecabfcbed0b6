//! `sigterm`: processes that are told to stop in full load, with healthy sinks; nothing may be lost, and nothing come twice.

use std::time::Duration;

use crate::dice::Dice;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{Outcome, Stage};

/// How often, and after how much load.
#[derive(Clone, Debug)]
pub struct Stops {
    /// How many processes are stopped.
    pub runs: u64,
    /// How many in one folder, one after the other.
    pub in_round: u64,
    /// The mean time of load before a stop.
    pub interval: Duration,
}

/// Stops processes.
pub fn sigterm(ground: &Ground, stops: &Stops) -> anyhow::Result<Report> {
    let mut report = Report::new("sigterm".to_owned(), ground.seed);
    for round in 0..stops.runs.div_ceil(stops.in_round) {
        let work = ground.round_folder(round).join("work");
        let outcome = play(ground, stops, round, &mut report);
        ground.close_round(round, outcome, &work, &mut report)?;
        ground.say(&format!(
            "{} of {} stops, {} events acked, {} violations",
            report.blows,
            stops.runs,
            report.acked,
            report.violations.len()
        ));
    }
    Ok(report)
}

fn play(
    ground: &Ground,
    stops: &Stops,
    round: u64,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let seed = ground.round_seed(round);
    let mut dice = Dice::of(seed, 0);
    let folder = ground.round_folder(round);
    let work = folder.join("work");
    let mut stage = Stage::new(
        &ground.binary,
        &ground.setup,
        &ground.load,
        seed,
        &folder,
        &work,
        &work.join("data"),
    )?;
    stage.allow_no_repeats();
    for _ in 0..stops.in_round.min(stops.runs - report.blows) {
        stage.start()?;
        stage.must_be_ready()?;
        let time = dice.time_below(stops.interval * 2);
        anyhow::ensure!(stage.process()?.let_run(time), "it ended by itself");
        stage.drain()?;
        report.blows += 1;
        stage.note_death()?;
    }
    stage.finish(true)
}
