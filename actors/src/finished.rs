//! Which numbers of a sequence are finished: a contiguous prefix, and merged ranges beyond it.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of sequence numbers that grows, mostly from below.
///
/// Its size is the number of gaps, so what is in flight bounds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    prefix: u64,
    /// Start → end of each run beyond the prefix; they neither touch one another nor the prefix.
    beyond: BTreeMap<u64, u64>,
}

impl Finished {
    /// All numbers below `prefix`.
    pub fn below(prefix: u64) -> Self {
        Self {
            prefix,
            beyond: BTreeMap::new(),
        }
    }

    /// Adds the numbers of `range`, whatever of it is known already.
    pub fn insert(&mut self, range: Range<u64>) {
        let (mut start, mut end) = (range.start, range.end);
        if start >= end || end <= self.prefix {
            return;
        }
        if let Some((&left, &left_end)) = self.beyond.range(..=start).next_back()
            && left_end >= start
        {
            (start, end) = (left, end.max(left_end));
            self.beyond.remove(&left);
        }
        while let Some((&right, &right_end)) = self.beyond.range(start..).next()
            && right <= end
        {
            end = end.max(right_end);
            self.beyond.remove(&right);
        }
        if start <= self.prefix {
            self.prefix = end;
        } else {
            self.beyond.insert(start, end);
        }
    }

    /// The first number that is not finished.
    pub fn prefix(&self) -> u64 {
        self.prefix
    }

    /// The runs beyond the prefix, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<u64>> {
        self.beyond.iter().map(|(&start, &end)| start..end)
    }

    /// Behind the highest number that is finished.
    pub fn end(&self) -> u64 {
        self.beyond
            .last_key_value()
            .map_or(self.prefix, |(_, &end)| end)
    }

    /// Whether `number` is finished.
    pub fn contains(&self, number: u64) -> bool {
        self.covers(number..number.saturating_add(1))
    }

    /// Whether every number of `range` is finished.
    pub fn covers(&self, range: Range<u64>) -> bool {
        if range.is_empty() || range.end <= self.prefix {
            return true;
        }
        self.beyond
            .range(..=range.start)
            .next_back()
            .is_some_and(|(_, &end)| end >= range.end)
    }

    /// The set without some ranges.
    pub fn without(&self, ranges: &[Range<u64>]) -> Self {
        let mut kept = Self::default();
        for whole in std::iter::once(0..self.prefix).chain(self.ranges()) {
            let mut start = whole.start;
            let mut taken: Vec<_> = ranges.iter().filter(|range| range.end > start).collect();
            taken.sort_by_key(|range| range.start);
            for range in taken {
                kept.insert(start..range.start.min(whole.end));
                start = start.max(range.end);
            }
            kept.insert(start..whole.end);
        }
        kept
    }

    /// How many numbers of `range` are not finished.
    pub fn missing(&self, range: Range<u64>) -> u64 {
        let start = range.start.max(self.prefix);
        let within = |found: Range<u64>| {
            let end = found.end.min(range.end);
            end.saturating_sub(found.start.max(start))
        };
        let found: u64 = self.ranges().map(within).sum();
        range.end.saturating_sub(start) - found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_prefix_moves_over_what_was_finished_beyond_it() {
        let mut finished = Finished::below(10);
        finished.insert(12..14);
        finished.insert(20..21);
        assert_eq!((finished.prefix(), finished.end()), (10, 21));
        assert!(!finished.contains(11) && finished.contains(13));
        finished.insert(10..12);
        assert_eq!(finished.prefix(), 14);
        assert_eq!(finished.ranges().collect::<Vec<_>>(), vec![20..21]);
    }

    proptest! {
        #[test]
        fn without_some_ranges_it_has_all_others(
            inserted in prop::collection::vec((0u64..60, 0u64..12), 0..10),
            removed in prop::collection::vec((0u64..60, 0u64..12), 0..5),
        ) {
            let mut finished = Finished::below(7);
            for (start, length) in inserted {
                finished.insert(start..start + length);
            }
            let ranges: Vec<_> = removed.iter().map(|(start, length)| *start..start + length).collect();
            let kept = finished.without(&ranges);
            for number in 0..90 {
                let is_removed = ranges.iter().any(|range| range.contains(&number));
                prop_assert_eq!(kept.contains(number), finished.contains(number) && !is_removed);
            }
        }

        #[test]
        fn it_is_the_set_of_what_was_inserted(
            first in 0u64..20,
            ranges in prop::collection::vec((0u64..60, 0u64..12), 0..30),
        ) {
            let mut finished = Finished::below(first);
            let mut numbers: BTreeSet<u64> = (0..first).collect();
            for (start, length) in ranges {
                finished.insert(start..start + length);
                numbers.extend(start..start + length);
            }
            for number in 0..80 {
                prop_assert_eq!(finished.contains(number), numbers.contains(&number));
            }
            prop_assert!(!finished.contains(finished.prefix()));
            prop_assert!(finished.covers(0..finished.prefix()));
            let mut last = finished.prefix();
            for range in finished.ranges() {
                prop_assert!(range.start > last && range.end > range.start);
                prop_assert!(finished.covers(range.clone()));
                prop_assert!(!finished.covers(range.start - 1..range.end));
                last = range.end;
            }
            prop_assert_eq!(finished.end(), last);
            let missing = (7..50u64).filter(|number| !numbers.contains(number)).count() as u64;
            prop_assert_eq!(finished.missing(7..50), missing);
        }
    }
}
