//! A seeded world around a log: a user that appends, syncs, reads, finishes and persists, on a disk and in a process that
//! fail at any operation; and what must hold whatever happened.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use veltrix_actors::Finished;

use super::SimulatedLog;
use super::dice::Dice;
use super::simulated::{SimulatedClock, SimulatedDisk};
use crate::journal::{AppendError, Inspection, Log, Next, OpenError, Options};

/// What went wrong, in words.
pub(super) type Violation = String;

/// A record that was given to the log.
#[derive(Clone, Debug)]
struct Given {
    events: u32,
    /// Tells it from others that had its number before.
    id: u64,
    /// The log said that it is on the disk, or showed it after a start.
    is_kept: bool,
}

pub(super) struct World {
    dice: Dice,
    disk: SimulatedDisk,
    clock: SimulatedClock,
    options: Options,
    log: Option<SimulatedLog>,
    /// By first sequence; those that are kept, and those that may be.
    given: BTreeMap<u64, Given>,
    ids: u64,
    /// No number below may be given again.
    kept_end: u64,
    /// What had failed at the disk when the log was opened.
    failures: u64,
    finished: Finished,
    /// What must be finished at the next start, after a kill and after a power cut.
    persisted: Finished,
    synced: Finished,
}

/// A violation with this text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

pub(super) use ensure;

/// Runs the schedule of a seed.
pub(super) fn run(seed: u64) -> Result<(), Violation> {
    World::new(seed).live()
}

/// Runs the schedule of a seed, and tells what the disk was asked for.
pub(super) fn run_traced(seed: u64) -> (Result<(), Violation>, Vec<String>) {
    let mut world = World::new(seed);
    world.disk.with(|disk| disk.faults.is_traced = true);
    let outcome = world.live();
    let trace = world.disk.with(|disk| std::mem::take(&mut disk.trace));
    (outcome, trace)
}

/// The text of a record: its number, and up to 700 further letters.
pub(super) fn text(id: u64) -> Vec<u8> {
    static LETTERS: [u8; 700] = [b'x'; 700];
    let length = match id % 13 {
        0 => LETTERS.len(),
        other => other as usize * 11,
    };
    let digit = |at: u64| b"0123456789abcdef"[(id >> (4 * at) & 15) as usize];
    let number = [digit(3), digit(2), digit(1), digit(0), b':'];
    [&number, &LETTERS[..length], b"\n"].concat()
}

fn is_crash(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { .. })
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let disk = SimulatedDisk::new(dice.next());
        disk.with(|disk| {
            disk.faults.short_writes = dice.one_in(3);
            disk.faults.write_back = dice.one_in(3);
        });
        let options = Options {
            segment_bytes: 200 + dice.below(800),
            retain_bytes: dice.below(3) * 1_500,
            retain_age: Duration::from_secs(10 + dice.below(1_000)),
        };
        Self {
            dice,
            disk,
            clock: SimulatedClock::default(),
            options,
            log: None,
            given: BTreeMap::new(),
            ids: 0,
            kept_end: 0,
            failures: 0,
            finished: Finished::default(),
            persisted: Finished::default(),
            synced: Finished::default(),
        }
    }

    fn live(&mut self) -> Result<(), Violation> {
        self.start()?;
        let steps = 10 + self.dice.below(60);
        for _ in 0..steps {
            self.step()?;
        }
        self.crash(true);
        self.start()
    }

    /// One thing that the log's user does, or that happens to it.
    fn step(&mut self) -> Result<(), Violation> {
        match self.dice.below(32) {
            0..=11 => self.append(),
            12..=17 => self.sync(),
            18..=22 => self.finish(),
            23..=26 => self.persist(),
            27 => {
                let at = self.operations() + 1 + self.dice.below(12);
                self.disk.with(|disk| disk.faults.fail_at = Some(at));
                Ok(())
            }
            28 => {
                let at = self.operations() + 1 + self.dice.below(12);
                self.disk.with(|disk| disk.faults.crash_at = Some(at));
                Ok(())
            }
            29 => {
                let room = self.dice.below(4_000);
                let is_scarce = self.dice.one_in(2);
                self.disk.with(|disk| {
                    disk.faults.no_room = is_scarce && room < 1_000;
                    disk.capacity = match is_scarce {
                        true => disk.used() + room,
                        false => u64::MAX,
                    };
                });
                Ok(())
            }
            30 => {
                self.clock.advance(self.dice.clone().below(20_000));
                Ok(())
            }
            _ => {
                let is_power_cut = self.dice.one_in(2);
                self.crash(is_power_cut);
                self.start()
            }
        }
    }

    fn operations(&self) -> u64 {
        self.disk.with(|disk| disk.operations)
    }

    fn log(&mut self) -> &mut SimulatedLog {
        self.log.as_mut().expect("it is open between two steps")
    }

    fn append(&mut self) -> Result<(), Violation> {
        self.ids += 1;
        let id = self.ids;
        let events = 1 + self.dice.below(4) as u32;
        let text = text(id);
        let (left, right) = text.split_at(self.dice.below(text.len() as u64) as usize);
        let expected = self.log().end();
        // What is refused may be on the disk all the same.
        let given = Given {
            events,
            id,
            is_kept: false,
        };
        self.given.insert(expected, given);
        match self.log().append("t", events, &[left, right]) {
            Ok(first) => {
                ensure!(first == expected, "{first} was given instead of {expected}");
                // What it says to be synced without being asked is a promise, too.
                let synced = self.log().synced();
                self.keep(synced);
                Ok(())
            }
            Err(AppendError::Full { .. }) => {
                self.given.remove(&expected);
                Ok(())
            }
            Err(AppendError::Sealed(_)) => self.fail(),
            Err(error) => Err(format!("the log refused a record: {error}")),
        }
    }

    fn sync(&mut self) -> Result<(), Violation> {
        let end = self.log().end();
        match self.log().sync() {
            Ok(synced) => {
                ensure!(synced == end, "synced up to {synced}, not {end}");
                self.keep(synced);
                Ok(())
            }
            Err(_) => self.fail(),
        }
    }

    /// Everything below `end` is on the disk, says the log.
    fn keep(&mut self, end: u64) {
        for (_, given) in self.given.range_mut(..end) {
            given.is_kept = true;
        }
        self.kept_end = self.kept_end.max(end);
    }

    /// Finishes some of what is kept, in any order.
    fn finish(&mut self) -> Result<(), Violation> {
        let prefix = self.finished.prefix();
        let candidates: Vec<Range<u64>> = self
            .given
            .range(prefix.saturating_sub(4)..)
            .filter(|(_, given)| given.is_kept)
            .take(8)
            .map(|(first, given)| *first..first + u64::from(given.events))
            .collect();
        for range in candidates {
            if self.dice.one_in(2) {
                self.finished.insert(range);
            } else if self.dice.one_in(4) {
                self.finished.insert(range.start..range.start + 1);
            }
        }
        self.skip_what_is_gone();
        Ok(())
    }

    /// Numbers that no record has will never be finished by anybody, so the log's user takes them as finished.
    fn skip_what_is_gone(&mut self) {
        let mut next = self.finished.prefix();
        for (first, given) in &self.given {
            if *first > next {
                self.finished.insert(next..*first);
            }
            next = next.max(first + u64::from(given.events));
        }
    }

    fn persist(&mut self) -> Result<(), Violation> {
        let finished = self.finished.clone();
        let is_synced = self.dice.one_in(2);
        // A write that is not finished tears the slot that was written last.
        self.persisted = self.synced.clone();
        match self.log().persist(&finished, is_synced) {
            Ok(true) => {
                if is_synced {
                    self.synced = finished.clone();
                }
                self.persisted = finished;
                Ok(())
            }
            Ok(false) => {
                let is_full = self.disk.with(|disk| disk.faults.no_room);
                ensure!(is_full, "it is not written down, and there is room");
                Ok(())
            }
            Err(_) => self.fail(),
        }
    }

    /// The log says that it is sealed: it stays so, and the process ends.
    fn fail(&mut self) -> Result<(), Violation> {
        let (is_crashed, failures) = self.disk.with(|disk| (disk.is_crashed(), disk.failures));
        ensure!(
            failures > self.failures,
            "it is sealed and nothing had failed"
        );
        if !is_crashed {
            let operations = self.operations();
            ensure!(self.log().sync().is_err(), "a sealed log was synced");
            let is_taken = self.log().append("t", 1, &[]).is_ok();
            ensure!(!is_taken, "a sealed log took a record");
            ensure!(
                self.operations() == operations,
                "a sealed log touched the disk"
            );
        }
        let is_power_cut = self.dice.one_in(2);
        self.crash(is_power_cut);
        self.start()
    }

    fn crash(&mut self, is_power_cut: bool) {
        self.log = None;
        self.disk.with(|disk| {
            disk.faults.fail_at = None;
            match is_power_cut {
                true => disk.cut_power(),
                false => disk.kill(),
            }
        });
        if is_power_cut {
            self.persisted = self.synced.clone();
        }
    }

    /// Opens the log, crashing on the way now and then, and looks at everything in it.
    fn start(&mut self) -> Result<(), Violation> {
        self.disk.with(|disk| {
            disk.capacity = u64::MAX;
            disk.faults.no_room = false;
        });
        loop {
            if self.dice.one_in(4) {
                let at = self.operations() + 1 + self.dice.below(40);
                self.disk.with(|disk| disk.faults.crash_at = Some(at));
            }
            match Log::open(self.disk.clone(), self.clock.clone(), self.options) {
                Ok((log, recovered)) => {
                    self.failures = self.disk.with(|disk| {
                        disk.faults.crash_at = None;
                        disk.failures
                    });
                    self.log = Some(log);
                    ensure!(
                        recovered.damaged.is_empty(),
                        "damage where there is none: {:?}",
                        recovered.damaged
                    );
                    ensure!(!recovered.is_cursor_lost, "the cursor is lost");
                    return self.check(&recovered.finished, recovered.end);
                }
                Err(error) => {
                    ensure!(
                        is_crash(&error) && self.disk.with(|disk| disk.is_crashed()),
                        "the start is refused: {error}"
                    );
                    let is_power_cut = self.dice.one_in(2);
                    self.crash(is_power_cut);
                }
            }
        }
    }

    /// What must hold after a start.
    fn check(&mut self, finished: &Finished, end: u64) -> Result<(), Violation> {
        let kept_end = self.kept_end;
        ensure!(end >= kept_end, "the end is {end}, {kept_end} was synced");
        let must = &self.persisted;
        ensure!(
            finished.prefix() >= must.prefix() && must.ranges().all(|range| finished.covers(range)),
            "the cursor went back: {finished:?} instead of {must:?}"
        );
        let found = self.read_all()?;
        for (first, given) in &self.given {
            let range = *first..first + u64::from(given.events);
            for number in range.clone().filter(|_| given.is_kept) {
                ensure!(
                    !finished.contains(number) || self.finished.contains(number),
                    "{number} counts as finished and is not"
                );
            }
            ensure!(
                !given.is_kept || found.contains_key(first) || self.finished.covers(range.clone()),
                "{range:?} was synced, is not finished, and is gone"
            );
        }
        // What is there counts from now on; what is not never will.
        let finished = finished.clone();
        self.given.retain(|first, _| found.contains_key(first));
        for given in self.given.values_mut() {
            given.is_kept = true;
        }
        self.finished = finished.clone();
        self.persisted = finished.clone();
        self.synced = finished;
        self.kept_end = end;
        self.check_files()
    }

    /// Reads the whole log, each record against what was given.
    fn read_all(&mut self) -> Result<BTreeMap<u64, u64>, Violation> {
        let log = self.log.as_mut().expect("it was just opened");
        let (mut found, mut payload) = (BTreeMap::new(), Vec::new());
        let mut from = log.oldest();
        loop {
            match log
                .read(from, &mut payload)
                .map_err(|error| error.to_string())?
            {
                Next::Record(record) => {
                    let first = record.first;
                    let given = self.given.get(&first);
                    let given = given.ok_or_else(|| format!("nobody gave {first}"))?;
                    ensure!(
                        given.events == record.events
                            && record.tag == "t"
                            && payload == text(given.id),
                        "{first} is not what was given"
                    );
                    found.insert(first, given.id);
                    from = record.sequences().end;
                }
                Next::Lost(range) => {
                    ensure!(
                        range.start == from && range.end > from,
                        "lost {range:?} at {from}"
                    );
                    from = range.end;
                }
                Next::End => break,
            }
        }
        ensure!(
            from == log.end(),
            "the log ends at {from}, not {}",
            log.end()
        );
        Ok(found)
    }

    /// Nothing torn is left in the files, and who looks at them finds no damage.
    fn check_files(&mut self) -> Result<(), Violation> {
        if !self.dice.one_in(4) {
            return Ok(());
        }
        let verified = Inspection::open(self.disk.clone()).and_then(|mut log| log.verify());
        let verified = verified.map_err(|error| error.to_string())?;
        ensure!(
            verified.findings.is_empty() && !verified.is_cursor_lost,
            "not all is whole: {verified:?}"
        );
        Ok(())
    }
}
