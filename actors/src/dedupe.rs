//! Which events came before, by source and id: within a window of time, and a number of keys. No actor, no clock.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;

use crate::event::Event;

/// How far back events are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeSpec {
    /// How long an event is known.
    pub window: Duration,
    /// Of how many events at most; beyond, the oldest are not known any more.
    pub keys_max: usize,
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it is known from now on.
    New,
    /// It came before.
    Duplicate,
    /// One with its source and id came before, and had another type, subject or data.
    Conflict,
}

/// A hash that nobody outside can aim at: the events of others could be suppressed by equal ones.
type Key = [u64; 2];

/// The events of the window, as hashes.
#[derive(Debug)]
pub(crate) struct Dedupe {
    spec: DedupeSpec,
    hashers: [RandomState; 3],
    bodies: FxHashMap<Key, u64>,
    /// The keys in the order in which they came, with the second.
    order: VecDeque<(Key, u64)>,
}

impl Dedupe {
    pub(crate) fn new(spec: DedupeSpec) -> Self {
        Self {
            spec,
            hashers: std::array::from_fn(|_| RandomState::new()),
            bodies: FxHashMap::default(),
            order: VecDeque::new(),
        }
    }

    pub(crate) fn spec(&self) -> DedupeSpec {
        self.spec
    }

    /// Judges an event that came at `at`, and knows it from now on.
    pub(crate) fn judge(&mut self, event: &Event<'_>, at: SystemTime) -> Verdict {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.forget(second);
        let [first, other, body] = &self.hashers;
        let name = (event.source(), event.id());
        let key = [first.hash_one(&name), other.hash_one(&name)];
        let body = hash_body(body, event);
        match self.bodies.get(&key) {
            Some(known) if *known == body => return Verdict::Duplicate,
            Some(_) => return Verdict::Conflict,
            None => {}
        }
        if self.order.len() >= self.spec.keys_max {
            self.forget_first();
        }
        self.bodies.insert(key, body);
        self.order.push_back((key, second));
        Verdict::New
    }

    /// Does not know the last `count` new ones: they were not stored.
    pub(crate) fn take_back(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((key, _)) = self.order.pop_back() {
                self.bodies.remove(&key);
            }
        }
    }

    /// Forgets what is older than the window.
    fn forget(&mut self, second: u64) {
        let oldest = second.saturating_sub(self.spec.window.as_secs());
        while self.order.front().is_some_and(|(_, at)| *at < oldest) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((key, _)) = self.order.pop_front() {
            self.bodies.remove(&key);
        }
    }
}

/// What two deliveries of one event have in common; attributes such as `time` or `traceparent` may differ.
fn hash_body(hasher: &RandomState, event: &Event<'_>) -> u64 {
    let mut hasher = hasher.build_hasher();
    event.event_type().hash(&mut hasher);
    event.subject().hash(&mut hasher);
    event.data().hash(&mut hasher);
    event.attribute("data_base64").hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{detached_types, parse_record};

    fn judge(dedupe: &mut Dedupe, id: usize, rest: &str, second: u64) -> Verdict {
        let line = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{{{rest}}},"time":"2026-01-01T00:00:0{}Z"}}"#,
            second % 10
        );
        let record = parse_record(&line, 0..line.len(), &mut detached_types()).unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(second);
        dedupe.judge(&Event::new(&record, &line), at)
    }

    fn dedupe(keys_max: usize) -> Dedupe {
        Dedupe::new(DedupeSpec {
            window: Duration::from_secs(10),
            keys_max,
        })
    }

    #[test]
    fn an_event_is_known_for_the_window_whatever_attributes_differ() {
        let mut dedupe = dedupe(100);
        assert_eq!(judge(&mut dedupe, 1, "", 100), Verdict::New);
        assert_eq!(judge(&mut dedupe, 1, "", 110), Verdict::Duplicate);
        assert_eq!(judge(&mut dedupe, 1, "\"a\":1", 110), Verdict::Conflict);
        assert_eq!(judge(&mut dedupe, 1, "\"a\":1", 111), Verdict::New);
        assert_eq!((dedupe.bodies.len(), dedupe.order.len()), (1, 1));
    }

    #[test]
    fn past_the_number_of_keys_the_oldest_is_not_known_any_more() {
        let mut dedupe = dedupe(3);
        for id in 0..5 {
            assert_eq!(judge(&mut dedupe, id, "", 0), Verdict::New);
        }
        assert_eq!(judge(&mut dedupe, 2, "", 0), Verdict::Duplicate);
        assert_eq!(judge(&mut dedupe, 1, "", 0), Verdict::New);
        assert_eq!((dedupe.bodies.len(), dedupe.order.len()), (3, 3));
    }

    #[test]
    fn what_was_not_stored_is_not_known() {
        let mut dedupe = dedupe(10);
        judge(&mut dedupe, 1, "", 0);
        judge(&mut dedupe, 2, "", 0);
        dedupe.take_back(1);
        assert_eq!(judge(&mut dedupe, 1, "", 0), Verdict::Duplicate);
        assert_eq!(judge(&mut dedupe, 2, "", 0), Verdict::New);
    }
}
