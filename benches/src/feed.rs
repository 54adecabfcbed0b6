//! Events for the benchmarks of the actors: lines of a chosen size and type, parsed before the clock starts
//! or while it runs.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc::Receiver;
use veltrix_actors::{Intake, TypeCache, TypeTable};

/// Bytes of the lines where the size is not what is measured: that of the small shop events.
pub(crate) const SMALL_BYTES: usize = 215;

/// Events that are taken from a channel at once: a batch's worth.
const TAKEN_EVENTS_MAX: usize = 1_024;
/// The type of events that arrive by their numbers.
pub(crate) const ARRIVING_TYPE: &str = "bench.arriving";

/// Gives the next events, or none at the end.
type Next = Box<dyn FnMut(&mut TypeCache) -> Option<Intake> + Send>;

/// Where a source's events come from.
pub(crate) enum Feed {
    /// Always there: the next events to hand over, or none at the end.
    Ready(Next),
    /// Numbers from another thread; each becomes the id of a small event.
    Arriving(Receiver<u64>),
}

impl Feed {
    /// The next events, or none at the end.
    pub(crate) async fn next(&mut self, types: &mut TypeCache) -> Option<Intake> {
        match self {
            Self::Ready(next) => next(types),
            Self::Arriving(numbers) => arrived(numbers, types).await,
        }
    }
}

async fn arrived(numbers: &mut Receiver<u64>, types: &mut TypeCache) -> Option<Intake> {
    let mut taken = Vec::new();
    if numbers.recv_many(&mut taken, TAKEN_EVENTS_MAX).await == 0 {
        return None;
    }
    let mut intake = Intake::over(String::with_capacity(taken.len() * SMALL_BYTES));
    for number in taken {
        let line = line(number, ARRIVING_TYPE, SMALL_BYTES);
        intake
            .push_line(&line, types)
            .expect("the line is a valid event");
    }
    Some(intake)
}

/// One event of `event_type`, padded to about `bytes`.
pub(crate) fn line(number: u64, event_type: &str, bytes: usize) -> String {
    let mut line = format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"/bench/{}","type":"{event_type}","subject":"key-{}","data":{{"amount":{number},"text":""#,
        number % 10,
        number % 10_000,
    );
    let padding = bytes.saturating_sub(line.len() + 3);
    line.extend(std::iter::repeat_n('x', padding));
    line.push_str("\"}}");
    line
}

/// Events parsed beforehand: what runs is the transport alone. Types take turns by event.
pub(crate) fn prepared(
    table: &Arc<TypeTable>,
    event_types: &[String],
    events: u64,
    batch: usize,
) -> anyhow::Result<Feed> {
    let mut types = TypeCache::new(table.clone());
    let mut intakes = Vec::new();
    let mut number = 0;
    while number < events {
        let mut intake = Intake::over(String::with_capacity(batch * SMALL_BYTES));
        for _ in 0..batch.min((events - number) as usize) {
            let event_type = &event_types[(number % event_types.len() as u64) as usize];
            intake
                .push_line(&line(number, event_type, SMALL_BYTES), &mut types)
                .context("a benchmark's own event")?;
            number += 1;
        }
        intakes.push(intake);
    }
    let mut intakes = intakes.into_iter();
    Ok(Feed::Ready(Box::new(move |_| intakes.next())))
}

/// Events of `bytes` each, parsed while the clock runs, as a source does: at most 256 KiB (or one event) at a time.
pub(crate) fn parsed(event_type: &str, events: u64, bytes: usize) -> Feed {
    const TEXT_BYTES: usize = 256 * 1024;
    let sample = line(0, event_type, bytes);
    let mut left = events;
    Feed::Ready(Box::new(move |types| {
        let count = ((TEXT_BYTES / bytes.max(1)).clamp(1, 1024) as u64).min(left);
        if count == 0 {
            return None;
        }
        left -= count;
        let mut intake = Intake::over(String::with_capacity(count as usize * sample.len()));
        for _ in 0..count {
            intake
                .push_line(&sample, types)
                .expect("the sample is a valid event");
        }
        Some(intake)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_asked_size() {
        for bytes in [SMALL_BYTES, 1000, 1 << 20] {
            assert_eq!(line(7, "bench.type.a", bytes).len(), bytes);
        }
    }

    #[test]
    fn all_events_are_fed_once() {
        let table = Arc::new(TypeTable::default());
        let mut types = TypeCache::new(table.clone());
        let mut count = |mut feed: Feed| {
            let mut events = 0;
            let Feed::Ready(next) = &mut feed else {
                panic!("nothing arrives here")
            };
            while let Some(intake) = next(&mut types) {
                events += intake.len();
            }
            events
        };
        assert_eq!(
            count(prepared(&table, &["a".to_owned()], 1000, 64).unwrap()),
            1000
        );
        assert_eq!(count(parsed("a", 1000, SMALL_BYTES)), 1000);
        assert_eq!(count(parsed("a", 3, 1 << 20)), 3);
    }
}
