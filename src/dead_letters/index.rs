//! What is known in memory of each dead letter on the disk: 32 bytes, enough to find most of what a filter wants without reading.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};
use veltrix_actors::{DeadLetter, DeadLetterFilter, FailureClass};

use super::record::to_ms;

/// Distinct types that are told apart; letters of others are read to know theirs.
pub(super) const INDEX_TYPES_MAX: usize = 65_536;
/// Distinct pairs of branch and class that are told apart; letters of others are read to know theirs.
pub(super) const INDEX_KINDS_MAX: usize = 4_096;

/// What is kept of one dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    sequence: u64,
    /// Where it is in the log; [`GONE`] once it is nowhere.
    position: u64,
    at_seconds: u32,
    id_hash: u32,
    event_type: u32,
    at_ms: u16,
    kind: u16,
}

const GONE: u64 = u64::MAX;
const OTHER_TYPE: u32 = u32::MAX;
const OTHER_KIND: u16 = u16::MAX;

/// The dead letters of a log, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Sorted by number. Those that are gone are taken out once they are the greater part.
    entries: Vec<Entry>,
    gone: usize,
    /// Those that were met behind one with a higher number, before [`Index::settle`] puts them into their places.
    late: FxHashMap<u64, Entry>,
    types: Vec<Box<str>>,
    type_numbers: FxHashMap<Box<str>, u32>,
    kinds: Vec<(Box<str>, FailureClass)>,
    kind_numbers: FxHashMap<(Box<str>, FailureClass), u16>,
}

/// A dead letter that a filter may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) sequence: u64,
    pub(super) position: u64,
    /// Whether it has to be read to know.
    pub(super) is_doubtful: bool,
}

impl Index {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gone + self.late.len()
    }

    /// Adds a dead letter that lies at `position` of the log, or notes where it lies now.
    pub(super) fn insert(&mut self, letter: &DeadLetter, position: u64) {
        let at_ms = to_ms(letter.at);
        let entry = Entry {
            sequence: letter.sequence,
            position,
            at_seconds: u32::try_from(at_ms / 1_000).unwrap_or(u32::MAX),
            at_ms: (at_ms % 1_000) as u16,
            id_hash: hash(&letter.event().id()),
            event_type: self.type_number(&letter.event().event_type()),
            kind: self.kind_number(&letter.failure.branch, letter.failure.class),
        };
        if let Some(found) = self.find_mut(letter.sequence) {
            *found = entry;
        } else if self
            .entries
            .last()
            .is_none_or(|last| last.sequence < entry.sequence)
        {
            self.entries.push(entry);
        } else {
            self.late.insert(entry.sequence, entry);
        }
    }

    /// Puts what came late into its place.
    pub(super) fn settle(&mut self) {
        if !self.late.is_empty() {
            self.entries
                .extend(self.late.drain().map(|(_, entry)| entry));
            self.entries.sort_by_key(|entry| entry.sequence);
        }
        self.late = FxHashMap::default();
    }

    /// Takes those of a range out.
    pub(super) fn remove(&mut self, start: u64, end: u64) {
        let first = self.place(start);
        for entry in &mut self.entries[first..] {
            if entry.sequence >= end {
                break;
            }
            self.gone += usize::from(entry.position != GONE);
            entry.position = GONE;
        }
        if !self.late.is_empty() {
            self.late
                .retain(|sequence, _| !(start..end).contains(sequence));
        }
        if self.gone > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.position != GONE);
            self.gone = 0;
        }
    }

    /// Where the dead letter of that number is.
    pub(super) fn position(&self, sequence: u64) -> Option<u64> {
        self.find(sequence).map(|entry| entry.position)
    }

    /// The branch that gave it up; `Err` with its position if only the log knows.
    pub(super) fn branch(&self, sequence: u64) -> Option<Result<&str, u64>> {
        let entry = self.find(sequence)?;
        let kind = self.kinds.get(usize::from(entry.kind));
        Some(kind.map(|(branch, _)| &**branch).ok_or(entry.position))
    }

    /// The lowest position of all, and of those for which `is_asked` holds.
    pub(super) fn first_position(&self, is_asked: impl Fn(u64) -> bool) -> Option<u64> {
        let entries = self.entries.iter().filter(|entry| entry.position != GONE);
        let asked = entries.filter(|entry| is_asked(entry.sequence));
        asked.map(|entry| entry.position).min()
    }

    /// The numbers of the `count` that lie first in the log, with their positions, in the log's order.
    pub(super) fn first(&self, count: usize) -> Vec<(u64, u64)> {
        let kept = self.entries.iter().filter(|entry| entry.position != GONE);
        let mut places: Vec<(u64, u64)> =
            kept.map(|entry| (entry.position, entry.sequence)).collect();
        if places.len() > count {
            places.select_nth_unstable(count);
            places.truncate(count);
        }
        places.sort_unstable();
        places
    }

    /// Those before number `before` that the filter may want, the newest first.
    pub(super) fn candidates<'a>(
        &'a self,
        filter: &DeadLetterFilter,
        before: Option<u64>,
    ) -> impl DoubleEndedIterator<Item = Candidate> + use<'a> {
        let wanted = self.wanted(filter);
        let end = match before {
            Some(before) => self.place(before),
            None => self.entries.len(),
        };
        self.entries[..end].iter().rev().filter_map(move |entry| {
            let is_doubtful = wanted.judge(entry)?;
            Some(Candidate {
                sequence: entry.sequence,
                position: entry.position,
                is_doubtful,
            })
        })
    }

    fn wanted(&self, filter: &DeadLetterFilter) -> Wanted {
        let is_kind = |(branch, class): &(Box<str>, FailureClass)| {
            filter
                .branch
                .as_deref()
                .is_none_or(|wanted| wanted == &**branch)
                && filter.class.is_none_or(|wanted| wanted == *class)
        };
        let has_kind = filter.branch.is_some() || filter.class.is_some();
        let types = filter.types.as_ref();
        Wanted {
            kinds: has_kind.then(|| self.kinds.iter().map(is_kind).collect()),
            types: types.map(|types| self.types.iter().map(|name| types.matches(name)).collect()),
            // Times are rounded down to milliseconds here, and compared exactly where that leaves a doubt.
            from_ms: filter.from.map(to_ms),
            until_ms: filter.until.map(to_ms),
            id_hash: filter.id.as_deref().map(hash),
            last: filter.last.unwrap_or(u64::MAX),
        }
    }

    fn find(&self, sequence: u64) -> Option<&Entry> {
        let entry = self.entries.get(self.place(sequence));
        let found = entry.filter(|entry| entry.sequence == sequence && entry.position != GONE);
        found.or_else(|| self.late.get(&sequence))
    }

    fn find_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        let place = self.place(sequence);
        let is_it = |entry: &&mut Entry| entry.sequence == sequence && entry.position != GONE;
        self.entries.get_mut(place).filter(is_it)
    }

    fn place(&self, sequence: u64) -> usize {
        self.entries
            .partition_point(|entry| entry.sequence < sequence)
    }

    fn type_number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.type_numbers.get(name) {
            return *number;
        }
        if self.types.len() >= INDEX_TYPES_MAX {
            return OTHER_TYPE;
        }
        let number = u32::try_from(self.types.len()).expect("they are few");
        self.types.push(name.into());
        self.type_numbers.insert(name.into(), number);
        number
    }

    fn kind_number(&mut self, branch: &str, class: FailureClass) -> u16 {
        let kind = (Box::from(branch), class);
        if let Some(number) = self.kind_numbers.get(&kind) {
            return *number;
        }
        if self.kinds.len() >= INDEX_KINDS_MAX {
            return OTHER_KIND;
        }
        let number = u16::try_from(self.kinds.len()).expect("they are few");
        self.kinds.push(kind.clone());
        self.kind_numbers.insert(kind, number);
        number
    }
}

/// A filter, worked out for the index.
struct Wanted {
    kinds: Option<Vec<bool>>,
    types: Option<Vec<bool>>,
    from_ms: Option<u64>,
    until_ms: Option<u64>,
    id_hash: Option<u32>,
    last: u64,
}

impl Wanted {
    /// `None` if it is not wanted, else whether that is in doubt.
    fn judge(&self, entry: &Entry) -> Option<bool> {
        if entry.position == GONE || entry.sequence > self.last {
            return None;
        }
        let at_ms = u64::from(entry.at_seconds) * 1_000 + u64::from(entry.at_ms);
        if self.from_ms.is_some_and(|from| at_ms < from)
            || self.until_ms.is_some_and(|until| at_ms >= until)
            || self.id_hash.is_some_and(|hash| hash != entry.id_hash)
        {
            return None;
        }
        let known = |set: &Option<Vec<bool>>, number: usize| match set {
            Some(set) => set.get(number).copied(),
            None => Some(true),
        };
        let verdicts = [
            known(&self.kinds, usize::from(entry.kind)),
            known(&self.types, entry.event_type as usize),
        ];
        match verdicts.contains(&Some(false)) {
            true => None,
            false => Some(verdicts.contains(&None) || self.id_hash.is_some()),
        }
    }
}

fn hash(id: &str) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(id.as_bytes());
    // The entropy is in the high bits.
    (hasher.finish() >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }
}
