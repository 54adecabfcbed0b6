//! `disk-full`: the disk below the data directory is filled and freed again and again, under load.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::ground::Ground;
use crate::probe::Metrics;
use crate::report::Report;
use crate::stage::{Outcome, PATIENCE, Stage};
use crate::volume::Volume;

const DISK_BYTES: u64 = 24 << 20;
const STEP: Duration = Duration::from_millis(2);
/// A refusal comes within this.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Once there is room again, events are accepted within this.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);

/// Fills and frees the disk so many times.
pub fn disk_full(ground: &Ground, cycles: u64) -> anyhow::Result<Report> {
    let mut report = Report::new("disk-full".to_owned(), ground.seed);
    let volume = Volume::memory(&ground.folder, DISK_BYTES)?;
    let work = ground.round_folder(0).join("work");
    let outcome = play(ground, cycles, &volume, &work, &mut report);
    ground.close_round(0, outcome, &work, &mut report)?;
    Ok(report)
}

fn play(
    ground: &Ground,
    cycles: u64,
    volume: &Volume,
    work: &Path,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let folder = ground.round_folder(0);
    let data = volume.path().join("data");
    let mut stage = Stage::new(
        &ground.binary,
        &ground.setup,
        &ground.load,
        ground.seed,
        &folder,
        work,
        &data,
    )?;
    stage.allow_no_repeats();
    stage.expect_alarm("the journal has no room");
    stage.start()?;
    stage.must_be_ready()?;
    let ballast = volume.path().join("ballast");
    let mut slowest = Duration::ZERO;
    for cycle in 0..cycles {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&ballast)?;
        fill_until_refused(&mut stage, &mut file)?;
        drain_while_full(&mut stage, &mut file)?;
        drop(file);
        let before = stage.fleet.acked();
        std::fs::remove_file(&ballast)?;
        let freed = Instant::now();
        wait_for_acks(&mut stage, before)?;
        slowest = slowest.max(freed.elapsed());
        ground.say(&format!(
            "cycle {cycle}: accepted again after {:?}",
            freed.elapsed()
        ));
        report.blows += 1;
    }
    if slowest > ACCEPTED_WITHIN {
        stage
            .violations
            .push(format!("events were accepted again after {slowest:?} only"));
    }
    report.figure(
        "ms until accepted again, longest",
        slowest.as_secs_f64() * 1e3,
    );
    let restarts = Metrics::of(stage.ready()?.admin)?.sum("veltrix_restarts_total");
    if restarts > 0.0 {
        stage
            .violations
            .push(format!("{restarts} actors were restarted"));
    }
    let mut outcome = stage.finish(false)?;
    let refusal = outcome.history.refusal_longest;
    report.figure("ms until a refusal, longest", refusal.as_secs_f64() * 1e3);
    if refusal > REFUSED_WITHIN {
        outcome
            .violations
            .push(format!("a refusal took {refusal:?}"));
    }
    if outcome.history.refused_without_time > 0 {
        let count = outcome.history.refused_without_time;
        outcome
            .violations
            .push(format!("{count} refusals without Retry-After"));
    }
    Ok(outcome)
}

/// Takes all room, also what Veltrix frees meanwhile, until it refuses events.
fn fill_until_refused(stage: &mut Stage, ballast: &mut File) -> anyhow::Result<()> {
    let before = stage.fleet.refused();
    let until = Instant::now() + PATIENCE;
    while stage.fleet.refused() == before {
        fill(ballast)?;
        ensure!(
            Instant::now() < until,
            "it refuses nothing though the disk is full"
        );
        ensure!(stage.process()?.let_run(STEP), "it ended by itself");
    }
    Ok(())
}

/// What was accepted is delivered though the disk is full, and stays so.
fn drain_while_full(stage: &mut Stage, ballast: &mut File) -> anyhow::Result<()> {
    let admin = stage.ready()?.admin;
    let until = Instant::now() + PATIENCE;
    while !Metrics::of(admin)?.is_quiet() {
        fill(ballast)?;
        ensure!(
            Instant::now() < until,
            "it does not drain while the disk is full"
        );
        ensure!(stage.process()?.let_run(STEP), "it ended by itself");
    }
    Ok(())
}

fn fill(file: &mut File) -> anyhow::Result<()> {
    let mut block = &[0x55; 64 * 1024][..];
    while !block.is_empty() {
        match file.write(block) {
            Ok(_) => {}
            // Smaller and smaller, to the last byte.
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                block = &block[..block.len() / 2]
            }
            Err(error) => bail!(error),
        }
    }
    Ok(())
}

fn wait_for_acks(stage: &mut Stage, before: u64) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while stage.fleet.acked() == before {
        ensure!(
            Instant::now() < until,
            "nothing is accepted though there is room"
        );
        ensure!(stage.process()?.let_run(STEP), "it ended by itself");
    }
    Ok(())
}
