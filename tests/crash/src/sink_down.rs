//! `sink-down`: a receiver that is down for long while its neighbours go on, with a kill in the middle.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::blows::bytes_below;
use crate::ground::Ground;
use crate::report::Report;
use crate::stage::{Outcome, PATIENCE, Stage};

const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const MEMORY_BYTES: u64 = 256 << 20;
/// What memory may grow by in the second half of the outage, beside one part in ten.
const MEMORY_SLACK_BYTES: u64 = 16 << 20;
const DRAIN_SHARE: f64 = 0.8;
const NEIGHBOUR_SHARE: f64 = 0.9;

/// How large.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Events that are accepted while the sink is down.
    pub events: u64,
    /// How long it is down at least.
    pub time: Duration,
    /// Whether rates and memory are held to their limits, which makes sense for many events only.
    pub checks_rates: bool,
}

/// What was seen while events came.
#[derive(Default)]
struct Seen {
    events: u64,
    time: Duration,
    neighbour_events: u64,
    memory: Vec<u64>,
    journal_bytes: u64,
}

impl Seen {
    fn rate(&self) -> f64 {
        self.neighbour_events as f64 / self.time.as_secs_f64().max(1e-9)
    }

    fn add_to_rate(&mut self, later: &Self) {
        self.time += later.time;
        self.neighbour_events += later.neighbour_events;
    }

    fn look(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        self.memory.extend(stage.process()?.memory_bytes());
        let journal = journal_bytes(stage)?;
        self.journal_bytes = self.journal_bytes.max(journal);
        Ok(())
    }

    fn memory_most(&self) -> u64 {
        self.memory.iter().copied().max().unwrap_or_default()
    }
}

/// Takes a sink away and gives it back.
pub fn sink_down(ground: &Ground, outage: &Outage) -> anyhow::Result<Report> {
    let mut report = Report::new("sink-down".to_owned(), ground.seed);
    let work = ground.round_folder(0).join("work");
    let outcome = play(ground, outage, &work, &mut report);
    ground.close_round(0, outcome, &work, &mut report)?;
    Ok(report)
}

fn play(
    ground: &Ground,
    outage: &Outage,
    work: &Path,
    report: &mut Report,
) -> anyhow::Result<Outcome> {
    let folder = ground.round_folder(0);
    let mut stage = Stage::new(
        &ground.binary,
        &ground.setup,
        &ground.load,
        ground.seed,
        &folder,
        work,
        &work.join("data"),
    )?;
    stage.start()?;
    stage.must_be_ready()?;
    let mut usual = run_load(&mut stage, outage.events / 4, Duration::ZERO)?;
    stage.receiver.open("down", false);
    let first = run_load(&mut stage, outage.events / 2, outage.time / 2)?;
    stage.kill(true)?;
    stage.note_death()?;
    stage.start()?;
    stage.must_be_ready()?;
    report.blows += 1;
    let second = run_load(&mut stage, outage.events / 2, outage.time / 2)?;
    stage.fleet.hold(true);
    // What waits on for the sink is in its overflow log.
    let allowed = ground.setup.retain_bytes + 4 * ground.setup.segment_bytes;
    let pinned = wait_let_go(&mut stage, allowed)?;
    let backlog = first.events + second.events;
    let (before, _) = stage.receiver.count("down");
    let waiting = bytes_below(&stage.data().join("overflow"))?;
    ground.say(&format!("{backlog} events wait on {} MiB", waiting >> 20));
    stage.receiver.open("down", true);
    let opened = Instant::now();
    stage.wait_quiet()?;
    let (after, last) = stage.receiver.count("down");
    let drained = (after - before) as f64 / last.duration_since(opened).as_secs_f64().max(1e-9);
    // Before and after, as machines have fast and slow minutes.
    stage.fleet.hold(false);
    usual.add_to_rate(&run_load(&mut stage, outage.events / 4, Duration::ZERO)?);

    let memory = first.memory_most().max(second.memory_most());
    report.figure("events behind the sink", backlog as f64);
    report.figure("neighbour events/s, sink up", usual.rate());
    report.figure(
        "neighbour events/s, sink down, before the kill",
        first.rate(),
    );
    report.figure(
        "neighbour events/s, sink down, after the kill",
        second.rate(),
    );
    report.figure("events/s of the drained backlog", drained);
    report.figure("MiB of memory, most", memory as f64 / f64::from(1 << 20));
    let journal_bytes = first.journal_bytes.max(second.journal_bytes);
    report.figure(
        "MiB of journal, most",
        journal_bytes as f64 / f64::from(1 << 20),
    );
    let mut wrong = Vec::from_iter(pinned);
    if outage.checks_rates {
        wrong.extend(check_rates(&usual, &first, &second, drained));
    }
    stage.violations.extend(wrong);
    stage.finish(false)
}

fn journal_bytes(stage: &Stage) -> anyhow::Result<u64> {
    let segments = stage.journal().segments()?;
    Ok(segments.iter().map(|(_, bytes)| bytes).sum())
}

/// Waits until the journal has let go of what everybody else has; says what it keeps if it does not.
fn wait_let_go(stage: &mut Stage, allowed: u64) -> anyhow::Result<Option<String>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let bytes = journal_bytes(stage)?;
        if bytes <= allowed {
            return Ok(None);
        }
        if Instant::now() >= until {
            let pinned = format!("the journal is pinned: {bytes} bytes, at most {allowed}");
            return Ok(Some(pinned));
        }
        ensure!(stage.process()?.let_run(SAMPLE_EVERY), "it ended by itself");
    }
}

fn check_rates(usual: &Seen, first: &Seen, second: &Seen, drained: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    for (when, seen) in [("before", first), ("after", second)] {
        if seen.rate() < NEIGHBOUR_SHARE * usual.rate() {
            let (rate, usual) = (seen.rate(), usual.rate());
            wrong.push(format!(
                "{when} the kill the neighbour got {rate:.0} events/s instead of {usual:.0}"
            ));
        }
        let (early, late) = seen.memory.split_at(seen.memory.len() / 2);
        let most = |part: &[u64]| part.iter().copied().max().unwrap_or_default();
        if most(late) > most(early) / 10 * 11 + MEMORY_SLACK_BYTES {
            wrong.push(format!(
                "memory grew from {} to {} bytes",
                most(early),
                most(late)
            ));
        }
        if seen.memory_most() > MEMORY_BYTES {
            wrong.push(format!("{} bytes of memory", seen.memory_most()));
        }
    }
    if drained < DRAIN_SHARE * usual.rate() {
        let usual = usual.rate();
        wrong.push(format!(
            "the backlog drained at {drained:.0} events/s, the peak is {usual:.0}"
        ));
    }
    wrong
}

/// Runs until so many events more are accepted, as fast as they are, and then without load until so much time has passed.
fn run_load(stage: &mut Stage, events: u64, time: Duration) -> anyhow::Result<Seen> {
    let (started, acked) = (Instant::now(), stage.fleet.acked());
    let (neighbour, _) = stage.receiver.count("hook");
    let mut seen = Seen::default();
    let mut progressed = Instant::now();
    while seen.events < events {
        ensure!(stage.process()?.let_run(SAMPLE_EVERY), "it ended by itself");
        let now = stage.fleet.acked() - acked;
        if now > seen.events {
            progressed = Instant::now();
        }
        seen.events = now;
        ensure!(
            progressed.elapsed() < PATIENCE,
            "no event is accepted any more"
        );
        seen.look(stage)?;
    }
    seen.time = started.elapsed();
    seen.neighbour_events = stage.receiver.count("hook").0 - neighbour;
    stage.fleet.hold(true);
    while started.elapsed() < time {
        ensure!(stage.process()?.let_run(SAMPLE_EVERY), "it ended by itself");
        seen.look(stage)?;
    }
    stage.fleet.hold(false);
    Ok(seen)
}
