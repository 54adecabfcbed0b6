//! Bits flip and files are cut short, anywhere in a log: no start is refused, no bad byte is given back, and all that is
//! whole is. `VELTRIX_JOURNAL_ROTS` says how many logs rot (100000 by scripts/test), `VELTRIX_JOURNAL_SEED` runs one alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use veltrix_actors::Finished;

use super::dice::Dice;
use super::seeds;
use super::simulated::{SimulatedClock, SimulatedDisk};
use super::world::{Violation, ensure, text};
use crate::journal::recovery::read_headers;
use crate::journal::scanner::{Item, Scanner};
use crate::journal::segment::sequences_of;
use crate::journal::{Log, Next, Options, Storage};

/// Where a record lies.
#[derive(Debug)]
struct Place {
    name: String,
    bytes: Range<usize>,
    events: Range<u64>,
}

/// A log that was written, and what has been done to it since.
struct Rotting {
    dice: Dice,
    disk: SimulatedDisk,
    options: Options,
    finished: Finished,
    /// By first sequence.
    places: BTreeMap<u64, Place>,
    /// Offsets that were changed, and everything behind the end of what was cut short.
    damage: Vec<(String, Range<usize>)>,
}

/// Lets the log of a seed rot.
pub(super) fn run(seed: u64) -> Result<(), Violation> {
    let mut rotting = Rotting::write(seed)?;
    rotting.rot();
    let (first, finished) = rotting.look()?;
    // Once more, over what the first start has made of it.
    let (second, _) = rotting.look()?;
    let is_kept = |number: &u64| second.contains(number) || finished.contains(*number);
    let gone = first.iter().find(|number| !is_kept(number));
    ensure!(gone.is_none(), "{gone:?} is gone after another start");
    Ok(())
}

fn unexpected(error: &dyn std::fmt::Display) -> Violation {
    format!("nothing is broken yet: {error}")
}

impl Rotting {
    fn write(seed: u64) -> Result<Self, Violation> {
        let mut dice = Dice::new(seed ^ 0x0D15_EA5E);
        let disk = SimulatedDisk::new(dice.next());
        let options = Options {
            segment_bytes: 300 + dice.below(1_200),
            retain_bytes: 1 << 20,
            retain_age: Duration::from_secs(1_000),
        };
        let opened = Log::open(disk.clone(), SimulatedClock::default(), options);
        let (mut log, _) = opened.map_err(|error| unexpected(&error))?;
        let mut finished = Finished::default();
        for _ in 0..1 + dice.below(24) {
            let (first, events) = (log.end(), 1 + dice.below(4) as u32);
            log.append("t", events, &[&text(first)])
                .map_err(|error| unexpected(&error))?;
            if dice.one_in(2) {
                log.sync().map_err(|error| unexpected(&error))?;
            }
            if dice.one_in(8) {
                finished.insert(first / 2..first);
                log.persist(&finished, true)
                    .map_err(|error| unexpected(&error))?;
            }
        }
        log.sync().map_err(|error| unexpected(&error))?;
        drop(log);
        let mut rotting = Self {
            dice,
            disk,
            options,
            finished,
            places: BTreeMap::new(),
            damage: Vec::new(),
        };
        rotting.find_places();
        Ok(rotting)
    }

    fn find_places(&mut self) {
        let mut disk = self.disk.clone();
        let files = disk.list(None).expect("it does not fail");
        let segments = read_headers(&mut disk, &files, Err).expect("it is whole");
        for (index, segment) in segments.iter().enumerate() {
            let name = segment.name();
            let file = disk.open(&name).expect("it is listed");
            let mut scanner = Scanner::new(sequences_of(&segments, index, u64::MAX), segment.bytes);
            while let Item::Record { offset, header } = scanner.next(&mut disk, &file) {
                let place = Place {
                    name: name.clone(),
                    bytes: offset as usize..(offset + header.bytes()) as usize,
                    events: header.first..header.end(),
                };
                self.places.insert(header.first, place);
            }
        }
    }

    /// A few bits flip, or files are cut short.
    fn rot(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            let files = self.disk.with(|disk| disk.files());
            let name = files[self.dice.below(files.len() as u64) as usize].clone();
            let is_cut = self.dice.one_in(5);
            let dice = &mut self.dice;
            let changed = self.disk.with(|disk| {
                disk.edit(&name, |bytes| {
                    let at = dice.below(bytes.len() as u64) as usize;
                    if is_cut {
                        bytes.truncate(at);
                        return at..usize::MAX;
                    }
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << dice.below(8);
                    }
                    at..at + 1
                })
            });
            self.damage.push((name, changed));
        }
    }

    fn is_whole(&self, place: &Place) -> bool {
        !self.damage.iter().any(|(name, changed)| {
            *name == place.name
                && changed.start < place.bytes.end
                && place.bytes.start < changed.end
        })
    }

    /// Starts, and reads all that would be handed on; the records that were whole, and what counts as finished.
    fn look(&mut self) -> Result<(Vec<u64>, Finished), Violation> {
        let opened = Log::open(self.disk.clone(), SimulatedClock::default(), self.options);
        let (mut log, recovered) =
            opened.map_err(|error| format!("the start is refused: {error}"))?;
        let (mut found, mut payload) = (Vec::new(), Vec::new());
        let mut from = recovered.finished.prefix();
        loop {
            let next = log.read(from, &mut payload);
            match next.map_err(|error| error.to_string())? {
                Next::Record(record) => {
                    let place = self.places.get(&record.first);
                    let place = place.ok_or_else(|| format!("nobody gave {}", record.first))?;
                    ensure!(
                        place.events == record.sequences()
                            && record.tag == "t"
                            && payload == text(record.first),
                        "{} is not what was given",
                        record.first
                    );
                    found.push(record.first);
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
        for (first, place) in &self.places {
            let is_open = |number: &u64| !self.finished.contains(*number);
            let is_handed_on = |number: u64| {
                found.binary_search(first).is_ok() && !recovered.finished.contains(number)
            };
            let missing = place
                .events
                .clone()
                .filter(is_open)
                .find(|number| !is_handed_on(*number));
            ensure!(
                missing.is_none() || !self.is_whole(place),
                "{missing:?} is whole and not handed on"
            );
        }
        Ok((found, recovered.finished))
    }
}

#[test]
fn whatever_rots_all_that_is_whole_is_handed_on_and_nothing_else() {
    if let Ok(seed) = std::env::var("VELTRIX_JOURNAL_SEED") {
        return run(seed.parse().expect("a seed is a number")).unwrap();
    }
    seeds::run_all(seeds::count("VELTRIX_JOURNAL_ROTS", 10_000), run);
}
