//! `kill` and `power`: processes that die at random moments, a tenth of them while they start and recover.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::ground::Ground;
use crate::process::Waited;
use crate::report::Report;
use crate::stage::{Outcome, PATIENCE, Stage};
use crate::tail::mutilate;
use crate::volume::{FileSystem, Volume};

/// The time between a start and the first blow in it, before it is known how long a start takes.
const FIRST_START: Duration = Duration::from_millis(100);

/// How long a blow waits for an acknowledged event, and how often it looks.
const FIRST_ACK_WAIT: Duration = Duration::from_secs(1);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// How processes die.
#[derive(Clone, Debug)]
pub struct Blows {
    /// How many, over all rounds.
    pub count: u64,
    /// How many in one round, that is in one folder.
    pub in_round: u64,
    /// The mean time of load before a blow.
    pub interval: Duration,
    /// Whether to write into what a dead process had not synced, once in four times.
    pub mutilates: bool,
    /// Within which 99 of 100 processes must be ready again.
    pub ready_within: Option<Duration>,
    /// Whether the http sink's receiver is down until the last blow.
    pub is_receiver_down: bool,
    /// Bytes that are in the data directory before the first blow.
    pub backlog_bytes: u64,
}

/// Kills processes.
pub fn kill(ground: &Ground, blows: &Blows) -> anyhow::Result<Report> {
    let mut report = Report::new("kill".to_owned(), ground.seed);
    for round in 0..blows.count.div_ceil(blows.in_round) {
        let folder = ground.round_folder(round);
        let work = folder.join("work");
        let outcome = play(ground, blows, round, &work, None, &mut report);
        ground.close_round(round, outcome, &work, &mut report)?;
        tell(ground, &report, blows);
    }
    check_times(ground, blows, &mut report);
    Ok(report)
}

/// Cuts the power of the file system that the processes write to.
pub fn power(ground: &Ground, blows: &Blows, file_system: FileSystem) -> anyhow::Result<Report> {
    let run = format!("power --fs {file_system}");
    let mut report = Report::new(run, ground.seed);
    let volume = Volume::image(&ground.folder, file_system)?;
    let started = Instant::now();
    for round in 0..blows.count.div_ceil(blows.in_round) {
        let work = volume.path().join(ground.round_seed(round).to_string());
        // What an operator made long ago; all below it is Veltrix's to make and to keep.
        std::fs::create_dir(&work)?;
        File::open(volume.path())?.sync_all()?;
        let outcome = play(ground, blows, round, &work, Some(&volume), &mut report);
        ground.close_round(round, outcome, &work, &mut report)?;
        std::fs::remove_dir_all(&work)?;
        tell(ground, &report, blows);
    }
    let cycle = started.elapsed().as_secs_f64() * 1e3 / report.blows.max(1) as f64;
    report.figure("ms a cycle", cycle);
    check_times(ground, blows, &mut report);
    Ok(report)
}

fn check_times(ground: &Ground, blows: &Blows, report: &mut Report) {
    if let Some(within) = blows.ready_within
        && report.ready.p99 > within.as_secs_f64() * 1e3
    {
        let p99 = report.ready.p99;
        report.violate(
            ground.seed,
            format!("p99 of readiness is {p99:.0} ms"),
            &ground.folder,
        );
    }
}

fn tell(ground: &Ground, report: &Report, blows: &Blows) {
    ground.say(&format!(
        "{} of {} blows, {} events acked, ready again p99 {:.0} ms, {} violations",
        report.blows,
        blows.count,
        report.acked,
        report.ready.p99,
        report.violations.len()
    ));
}

fn play(
    ground: &Ground,
    blows: &Blows,
    round: u64,
    work: &Path,
    volume: Option<&Volume>,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let seed = ground.round_seed(round);
    let mut dice = Dice::of(seed, 0);
    let folder = ground.round_folder(round);
    let mut stage = Stage::new(
        &ground.binary,
        &ground.setup,
        &ground.load,
        seed,
        &folder,
        work,
        &work.join("data"),
    )?;
    stage.start()?;
    if blows.is_receiver_down {
        stage.receiver.open("hook", false);
        build_backlog(ground, blows, &mut stage)?;
    }
    for _ in 0..blows.in_round.min(blows.count - report.blows) {
        let is_in_start = dice.once_in(10);
        wait_for_the_moment(&mut stage, is_in_start, blows, &mut dice)?;
        if let Some(volume) = volume {
            let is_frozen = dice.once_in(2);
            stage.prepare_cut(is_frozen)?;
            volume.cut()?;
            report.count("cuts below a process that goes on", u64::from(!is_frozen));
        }
        stage.kill(volume.is_none())?;
        if let Some(volume) = volume {
            volume.restore()?;
        }
        report.blows += 1;
        report.blows_in_start += u64::from(is_in_start);
        stage.note_death()?;
        if blows.mutilates && volume.is_none() && dice.once_in(4) {
            let is_done = mutilate(stage.journal(), &mut dice)?;
            report.count("tails mutilated", u64::from(is_done));
        }
        stage.start()?;
    }
    stage.must_be_ready()?;
    stage.receiver.open("hook", true);
    let last = dice.time_below(blows.interval);
    stage.process()?.let_run(last);
    stage.finish(dice.once_in(2))
}

/// Waits until the process shall die: after some load, or while it starts.
fn wait_for_the_moment(
    stage: &mut Stage,
    is_in_start: bool,
    blows: &Blows,
    dice: &mut Dice,
) -> anyhow::Result<()> {
    if is_in_start {
        let usual = stage.ready_times.last().copied().unwrap_or(FIRST_START);
        let time = dice.time_below(usual * 6 / 5);
        if let Waited::Ended = stage.wait_ready(time)? {
            anyhow::bail!("it ended while it started");
        }
        return Ok(());
    }
    stage.must_be_ready()?;
    let time = dice.time_below(blows.interval * 2);
    if !dice.once_in(3) {
        // Under load, not just ready for it.
        let before = stage.fleet.acked();
        let until = Instant::now() + FIRST_ACK_WAIT;
        while stage.fleet.acked() == before && Instant::now() < until {
            if !stage.process()?.let_run(LOOK_AGAIN_AFTER) {
                break;
            }
        }
    }
    // That it ends by itself is noted when it is killed.
    stage.process()?.let_run(time);
    Ok(())
}

/// Loads until so much waits on disk.
fn build_backlog(ground: &Ground, blows: &Blows, stage: &mut Stage) -> anyhow::Result<()> {
    stage.must_be_ready()?;
    let until = Instant::now() + PATIENCE * 10;
    loop {
        let bytes = bytes_below(stage.data())?;
        if bytes >= blows.backlog_bytes {
            ground.say(&format!("{} MiB wait on disk", bytes >> 20));
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "only {bytes} bytes wait on disk");
        anyhow::ensure!(
            stage.process()?.let_run(Duration::from_millis(200)),
            "it ended by itself"
        );
    }
}

/// The size of all files below a folder.
pub(crate) fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // A file may be gone by now.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        bytes += match metadata.is_dir() {
            true => bytes_below(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}
