//! One round: a folder, the clients, the receiver, and one process after the other in that folder.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::arrivals::Arrivals;
use crate::checker::{Allowed, Finding, check, done_before, everywhere};
use crate::fleet::{Fleet, History};
use crate::journal::Journal;
use crate::probe::Metrics;
use crate::process::{Process, Ready, Waited};
use crate::receiver::Receiver;
use crate::setup::{Durability, Setup, SinkUnderTest};
use crate::workload::Workload;

/// No run waits longer for a process to become ready, to be quiet, or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two questions whether everything is delivered.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The load of a round.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many clients there are.
    pub clients: u16,
    /// Over how many keys.
    pub keys: u16,
    /// The size that most payloads stay below.
    pub payload_bytes: usize,
    /// The longest pause of a client after an answer.
    pub pause: Duration,
}

/// What may be delivered again.
#[derive(Clone, Debug)]
pub(crate) enum Repeats {
    /// Any number of events; they are counted.
    Any,
    /// After each crash, what the cursors do not know as finished.
    AfterCursors(Vec<Left>),
    /// Nothing: no process is killed.
    None,
}

/// What a crash left unfinished, by the epoch of the process that repeats it.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    epoch: u16,
    /// In the journal: this may come again at every sink.
    journal: u64,
    /// In a sink's overflow log: this may come again there.
    overflow: BTreeMap<&'static str, u64>,
}

impl Repeats {
    fn allowed(&self, sink: &str) -> Allowed {
        let at_sink = |left: &Left| {
            let overflow = left.overflow.get(sink).copied().unwrap_or_default();
            (left.epoch, left.journal + overflow)
        };
        Allowed {
            duplicates: match self {
                Self::Any => None,
                Self::AfterCursors(lefts) => Some(lefts.iter().map(at_sink).collect()),
                Self::None => Some(BTreeMap::new()),
            },
        }
    }

    /// The most that a crash left in the journal, where that is known.
    pub(crate) fn most(&self) -> Option<u64> {
        match self {
            Self::AfterCursors(lefts) => lefts.iter().map(|left| left.journal).max(),
            Self::Any | Self::None => None,
        }
    }
}

/// A round under way.
pub(crate) struct Stage {
    binary: PathBuf,
    setup: Setup,
    folder: PathBuf,
    work: PathBuf,
    data: PathBuf,
    workload: Arc<Workload>,
    /// Where the http sinks deliver to.
    pub(crate) receiver: Receiver,
    /// The clients.
    pub(crate) fleet: Fleet,
    process: Option<Process>,
    ready: Option<Ready>,
    epoch: u16,
    started: Instant,
    /// The size of each file at the end of each process.
    ends: BTreeMap<&'static str, Vec<u64>>,
    repeats: Repeats,
    /// What processes may log as errors.
    expected_alarms: Vec<&'static str>,
    journal: Journal,
    /// From each process's start until it was ready.
    pub(crate) ready_times: Vec<Duration>,
    /// What went wrong so far.
    pub(crate) violations: Vec<String>,
}

/// What a round found.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What the clients know.
    pub(crate) history: History,
    /// By sink.
    pub(crate) findings: BTreeMap<&'static str, Finding>,
    /// What was allowed to be delivered again.
    pub(crate) repeats: Repeats,
    /// From each start until readiness, without the first.
    pub(crate) ready_times: Vec<Duration>,
    /// What must not be.
    pub(crate) violations: Vec<String>,
}

impl Stage {
    /// Prepares a round in a new folder; the processes run in `work`, and keep what they must not lose in `data`.
    pub(crate) fn new(
        binary: &Path,
        setup: &Setup,
        load: &Load,
        seed: u64,
        folder: &Path,
        work: &Path,
        data: &Path,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::create_dir_all(work)?;
        let folder = std::fs::canonicalize(folder)?;
        let workload = Workload::new(seed, load.clients, load.keys, load.payload_bytes);
        let workload = Arc::new(workload);
        let sinks = setup.wiring.sinks();
        let hooks: Vec<_> = sinks.iter().filter(|sink| !sink.is_file).collect();
        let hooks: Vec<_> = hooks.iter().map(|sink| (sink.name, sink.shape)).collect();
        let journal = Journal::of(binary, data);
        Ok(Self {
            receiver: Receiver::start(&workload, &hooks)?,
            fleet: Fleet::start(&workload, load.pause),
            binary: binary.to_owned(),
            setup: setup.clone(),
            folder,
            work: work.to_owned(),
            data: data.to_owned(),
            workload,
            process: None,
            ready: None,
            epoch: 0,
            started: Instant::now(),
            ends: BTreeMap::new(),
            repeats: match setup.durability {
                Durability::Journal => Repeats::AfterCursors(Vec::new()),
                Durability::None => Repeats::Any,
            },
            expected_alarms: Vec::new(),
            journal,
            ready_times: Vec::new(),
            violations: Vec::new(),
        })
    }

    /// From now on nothing may be delivered twice.
    pub(crate) fn allow_no_repeats(&mut self) {
        self.repeats = Repeats::None;
    }

    /// From now on processes may log such errors.
    pub(crate) fn expect_alarm(&mut self, part: &'static str) {
        self.expected_alarms.push(part);
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Its journal, seen from outside.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Starts the next process.
    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let config = self.setup.config(&self.data, &self.receiver, self.epoch);
        let log = self.folder.join("veltrix.log");
        let process = Process::start(&self.binary, &self.work, &config, &log, self.epoch)?;
        self.process = Some(process);
        Ok(())
    }

    /// The running process.
    pub(crate) fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("a process was started")
    }

    /// Waits until the process is ready, and sends the clients there.
    pub(crate) fn wait_ready(&mut self, time: Duration) -> anyhow::Result<Waited> {
        let waited = self.process()?.wait_ready(time);
        if let Waited::Ready(ready) = &waited {
            let ready = *ready;
            if self.epoch > 0 {
                self.ready_times.push(ready.after);
            }
            self.write_down(&format!("ready after {:.0?}", ready.after))?;
            self.ready = Some(ready);
            self.fleet.aim(Some(ready.target));
        }
        Ok(waited)
    }

    /// As [`Stage::wait_ready`]; that it never is, is an error.
    pub(crate) fn must_be_ready(&mut self) -> anyhow::Result<Ready> {
        match self.wait_ready(PATIENCE)? {
            Waited::Ready(ready) => Ok(ready),
            other => anyhow::bail!("process {} does not become ready: {other:?}", self.epoch),
        }
    }

    /// The admin server of the process that was ready last.
    pub(crate) fn ready(&self) -> anyhow::Result<Ready> {
        self.ready.context("a process was ready")
    }

    /// Kills the process. What it complained of is a violation, unless its disk was taken away before.
    pub(crate) fn kill(&mut self, has_disk: bool) -> anyhow::Result<()> {
        let process = self.process.take().context("a process was started")?;
        self.fleet.aim(None);
        self.write_down("killed")?;
        let (status, alarms) = process.kill()?;
        if has_disk {
            self.note_alarms(alarms);
            if let Some(code) = status.code() {
                let epoch = self.epoch;
                self.violations
                    .push(format!("process {epoch} ended by itself with {code}"));
            }
        }
        Ok(())
    }

    /// Before the process's disk is taken away: has count what it complained of so far. As a power cut has it, it does
    /// nothing any more then; or else it goes on with a disk that fails, and its acks prove nothing.
    pub(crate) fn prepare_cut(&mut self, is_frozen: bool) -> anyhow::Result<()> {
        let process = self.process()?;
        let is_alive = process.let_run(Duration::ZERO);
        if is_frozen && is_alive {
            process.freeze()?;
        }
        let alarms = process.take_alarms();
        self.note_alarms(alarms);
        if !is_alive {
            let epoch = self.epoch;
            self.violations
                .push(format!("process {epoch} ended by itself"));
        }
        self.fleet.keep_connections();
        if !is_frozen {
            self.fleet.doubt_acks(self.epoch);
        }
        Ok(())
    }

    fn note_alarms(&mut self, alarms: Vec<String>) {
        let epoch = self.epoch;
        let is_expected =
            |alarm: &String| self.expected_alarms.iter().any(|what| alarm.contains(what));
        let named = alarms
            .into_iter()
            .filter(|alarm| !is_expected(alarm))
            .take(3);
        let named: Vec<String> = named
            .map(|alarm| format!("process {epoch} logged an error: {alarm}"))
            .collect();
        self.violations.extend(named);
    }

    /// Notes what a dead process left behind; the next one has the next epoch.
    pub(crate) fn note_death(&mut self) -> anyhow::Result<()> {
        for sink in self.setup.wiring.sinks().iter().filter(|sink| sink.is_file) {
            let text = read_file(&self.file(sink))?;
            let whole = text
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            self.ends.entry(sink.name).or_default().push(whole as u64);
        }
        let position = self.journal.position()?;
        self.write_down(&format!("it left {position}"))?;
        let mut overflow = BTreeMap::new();
        for sink in self.setup.wiring.sinks() {
            let position = self.journal.overflow(sink.name)?;
            if position.unfinished() > 0 {
                self.write_down(&format!("and for {}: {position}", sink.name))?;
            }
            overflow.insert(sink.name, position.unfinished());
        }
        self.epoch = self.epoch.checked_add(1).context("too many processes")?;
        if let Repeats::AfterCursors(lefts) = &mut self.repeats {
            lefts.push(Left {
                epoch: self.epoch,
                journal: position.unfinished(),
                overflow,
            });
        }
        Ok(())
    }

    fn file(&self, sink: &SinkUnderTest) -> PathBuf {
        self.work.join("out").join(format!("{}.ndjson", sink.name))
    }

    /// Adds to the round's account, for whoever looks into a violation.
    pub(crate) fn write_down(&mut self, what: &str) -> anyhow::Result<()> {
        let account = self.folder.join("account.log");
        let mut account = OpenOptions::new().create(true).append(true).open(account)?;
        let time = self.started.elapsed();
        let acked = self.fleet.acked();
        Ok(writeln!(
            account,
            "{time:9.3?} process {}: {what}; {acked} acked",
            self.epoch
        )?)
    }

    /// Waits until everything that was accepted is delivered.
    pub(crate) fn wait_quiet(&mut self) -> anyhow::Result<Metrics> {
        let admin = self.ready()?.admin;
        let until = Instant::now() + PATIENCE;
        loop {
            let metrics = Metrics::of(admin)?;
            if metrics.is_quiet() {
                return Ok(metrics);
            }
            ensure!(
                Instant::now() < until,
                "it is not through after {PATIENCE:?}: {metrics:?}"
            );
            ensure!(
                self.process()?.let_run(ASK_AGAIN_AFTER),
                "it ended by itself"
            );
        }
    }

    /// Drains the process by SIGTERM, in full load or with the clients held, and has it end with 0.
    pub(crate) fn drain(&mut self) -> anyhow::Result<()> {
        let process = self.process.take().context("a process was started")?;
        self.fleet.keep_connections();
        self.write_down("told to stop")?;
        process.terminate()?;
        let (status, alarms) = process.wait(PATIENCE)?;
        self.fleet.aim(None);
        self.note_alarms(alarms);
        if status.code() != Some(0) {
            let epoch = self.epoch;
            self.violations
                .push(format!("process {epoch} drained and ended with {status}"));
        }
        Ok(())
    }

    /// Ends the round: everything is delivered, the process drained, and all of it compared.
    pub(crate) fn finish(mut self, is_drained_under_load: bool) -> anyhow::Result<Outcome> {
        if self.process.is_some() {
            if !is_drained_under_load {
                self.fleet.hold(true);
                let metrics = self.wait_quiet()?;
                let wrong = metrics.imbalance();
                self.violations
                    .extend(wrong.map(|wrong| format!("the ledger is wrong: {wrong}")));
            }
            self.drain()?;
        }
        if self.setup.durability == Durability::Journal {
            let wrong = self.journal.check_at_rest(&self.setup)?;
            self.violations.extend(wrong);
        }
        let Self {
            receiver,
            fleet,
            workload,
            ends,
            repeats,
            mut violations,
            work,
            setup,
            ready_times,
            ..
        } = self;
        let history = fleet.finish()?;
        let mut findings = BTreeMap::new();
        let mut all_arrivals = Vec::new();
        for sink in setup.wiring.sinks() {
            let arrivals = match sink.is_file {
                true => {
                    let text = read_file(&work.join("out").join(format!("{}.ndjson", sink.name)))?;
                    let ends = ends.get(sink.name).map_or(&[][..], Vec::as_slice);
                    let mut arrivals = Arrivals::default();
                    arrivals.take_file(&text, ends, &workload, sink.shape);
                    arrivals
                }
                false => receiver.take(sink.name),
            };
            let allowed = repeats.allowed(sink.name);
            let finding = check(&history.notes, &arrivals, sink.goes_there, &allowed);
            let named = finding.violations.iter();
            violations.extend(named.map(|violation| format!("{}: {violation}", sink.name)));
            findings.insert(sink.name, finding);
            all_arrivals.push((sink, arrivals));
        }
        let sinks: Vec<_> = all_arrivals
            .iter()
            .map(|(sink, arrivals)| (arrivals, sink.goes_there))
            .collect();
        let everywhere = everywhere(&history.notes, &sinks);
        for (sink, arrivals) in &all_arrivals {
            let done = done_before(&history.notes, arrivals, &everywhere);
            if let Some(finding) = findings.get_mut(sink.name) {
                finding.done_before = done;
            }
        }
        violations.extend(history.complaints.iter().cloned());
        Ok(Outcome {
            history,
            findings,
            repeats,
            ready_times,
            violations,
        })
    }
}

/// A file's content; nothing if there is no such file.
fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.with_context(|| format!("{} cannot be read", path.display())),
    }
}
