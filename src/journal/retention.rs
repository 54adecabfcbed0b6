//! Which finished segments are kept for replay, and which go.

use super::segment::Segment;

/// What is kept of finished segments: nothing beyond either limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    /// Bytes of all segments, with those that are not finished.
    pub(super) bytes: u64,
    pub(super) age_ms: u64,
}

/// How many segments, from the oldest on, are to go: finished wholly, and beyond the limits. The last one never is.
///
/// `prefix` is the first sequence that is not finished.
pub(super) fn expired(
    segments: &[Segment],
    prefix: u64,
    retention: Retention,
    now_ms: u64,
) -> usize {
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut count = 0;
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
        // Its last record is older than the next segment.
        let is_old = now_ms.saturating_sub(next.created_ms) > retention.age_ms;
        let is_finished = next.first <= prefix || planted!(UnfinishedUnlinked);
        if !is_finished || !(bytes > retention.bytes || is_old) {
            break;
        }
        bytes -= segment.bytes;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Vec<Segment> {
        let segment = |index: u64| Segment {
            first: index * 10,
            bytes: 100,
            created_ms: 1_000 * (index + 1),
        };
        (0..4).map(segment).collect()
    }

    fn keep(bytes: u64, age_ms: u64) -> Retention {
        Retention { bytes, age_ms }
    }

    #[test]
    fn only_finished_segments_go_and_never_the_last() {
        for (prefix, count) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (40, 3), (99, 3)] {
            assert_eq!(expired(&segments(), prefix, keep(0, u64::MAX), 0), count);
        }
    }

    #[test]
    fn those_beyond_the_size_go_from_the_oldest_on() {
        for (bytes, count) in [(400, 0), (399, 1), (300, 1), (299, 2), (0, 3)] {
            assert_eq!(expired(&segments(), 40, keep(bytes, u64::MAX), 0), count);
        }
    }

    #[test]
    fn those_whose_last_record_is_too_old_go() {
        for (now, count) in [(0, 0), (2_500, 0), (2_501, 1), (3_501, 2), (9_999, 3)] {
            assert_eq!(expired(&segments(), 40, keep(u64::MAX, 500), now), count);
        }
    }

    #[test]
    fn there_may_be_none() {
        assert_eq!(expired(&[], 40, keep(0, 0), 9_999), 0);
    }
}
