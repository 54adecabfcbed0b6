//! Turns a piece of the tree into a typed value and reports every problem of it, not only the first.

use std::collections::{BTreeSet, HashMap, HashSet};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::{
    message::{self, Complaint, Wrong},
    node::Scalar,
    path::{KeyPath, Step},
    problems::Reporter,
    schema::SchemaAt,
};

/// Problems reported of one piece at most; each costs one more decoding.
const MAX_ATTEMPTS: usize = 100;

/// [`decode_what_is_valid`], but `None` if anything was wrong.
pub(crate) fn decode<T: DeserializeOwned + JsonSchema>(
    value: &Value,
    at: &KeyPath,
    also: &[&str],
    reporter: &Reporter,
) -> Option<T> {
    let (decoded, clean) = decode_what_is_valid(value, at, also, reporter);
    decoded.filter(|_| clean)
}

/// Decodes `value`, which stands at `at`; `also` are keys that are valid beside those of `T`, for the error texts.
///
/// serde stops at the first error. So the value at fault is taken out and the rest decoded again, until nothing is
/// wrong with what is left. Returns what is left, if that is a `T`, and whether it is all.
pub(crate) fn decode_what_is_valid<T: DeserializeOwned + JsonSchema>(
    value: &Value,
    at: &KeyPath,
    also: &[&str],
    reporter: &Reporter,
) -> (Option<T>, bool) {
    let mut pruned = Pruned::new(value.clone());
    let mut pass = Pass {
        at,
        also,
        reporter,
        clean: true,
        reread: HashMap::new(),
    };
    if !pass.refuse_lists::<T>(&mut pruned) {
        return (None, false);
    }
    for _ in 0..MAX_ATTEMPTS {
        let error = match serde_path_to_error::deserialize::<_, T>(&pruned.value) {
            Ok(decoded) => return (Some(decoded), pass.clean),
            Err(error) => error,
        };
        let here = local_path(error.path());
        let text = error.inner().to_string();
        if pass.reread(&mut pruned, &here, &text) {
            continue;
        }
        pass.clean = false;
        let culprit = pass.report::<T>(&pruned, here, &text);
        if culprit.steps().is_empty() || !pruned.remove(&culprit) {
            return (None, false);
        }
    }
    (None, false)
}

struct Pass<'a> {
    at: &'a KeyPath,
    also: &'a [&'a str],
    reporter: &'a Reporter,
    clean: bool,
    /// Values read the other way after the first reading failed: where, and what the first error was.
    reread: HashMap<KeyPath, String>,
}

impl Pass<'_> {
    /// serde takes a list for a struct, field by field in order; here a mapping is a mapping. Returns whether
    /// anything is left.
    fn refuse_lists<T: JsonSchema>(&mut self, pruned: &mut Pruned) -> bool {
        let schema = self.reporter.schema::<T>();
        let mut lists = Vec::new();
        misplaced_lists(
            &pruned.value,
            Some(SchemaAt::root(&schema)),
            &KeyPath::ROOT,
            &mut lists,
        );
        // from the end, so that indices before stay as they are
        lists.iter().rev().all(|list| {
            self.clean = false;
            let found = "a list".to_owned();
            let wrong = Wrong::Kind {
                expected: "a mapping".to_owned(),
                found,
            };
            message::wrong_value(self.reporter, &self.at.join(list), &wrong);
            pruned.remove(list)
        })
    }

    /// `VELTRIX__...=4` and a filled-in `${env:N}` may be a number or a text: if one reading does not fit, try the
    /// other.
    fn reread(&mut self, pruned: &mut Pruned, here: &KeyPath, error: &str) -> bool {
        let original = pruned.original(here);
        let Some(text) = self.reporter.origins.text(&self.at.join(&original)) else {
            return false;
        };
        if self.reread.contains_key(&original) {
            return false;
        }
        let Some(value) = pruned.get_mut(here) else {
            return false;
        };
        let other = match value {
            Value::String(_) => Scalar::parse(text).to_json(),
            _ => Value::String(text.to_owned()),
        };
        if other == *value {
            return false;
        }
        *value = other;
        self.reread.insert(original, error.to_owned());
        true
    }

    /// Reports the error and returns the (pruned) path of what to take out.
    fn report<T: JsonSchema>(&self, pruned: &Pruned, here: KeyPath, text: &str) -> KeyPath {
        let original = pruned.original(&here);
        let text = self.reread.get(&original).map_or(text, String::as_str);
        let full = self.at.join(&original);
        match message::read(text) {
            Complaint::UnknownKey { key, valid } => {
                let known = original.steps().last() == Some(&Step::Key(key.clone()));
                let mapping = if known {
                    self.at.join(&original).split_last().map(|(path, _)| path)
                } else {
                    None
                };
                let mapping = mapping.unwrap_or_else(|| full.clone());
                let also = if mapping == *self.at { self.also } else { &[] };
                message::unknown_key(self.reporter, &mapping, &key, &valid, also);
                if known { here } else { here.key(&key) }
            }
            Complaint::MissingKey(key) => {
                self.missing::<T>(pruned, &here, &original, key);
                here
            }
            Complaint::Other(what) => {
                message::wrong_value(self.reporter, &full, &what);
                here
            }
        }
    }

    /// Reports all keys that the mapping lacks, except those that were there and wrong.
    fn missing<T: JsonSchema>(
        &self,
        pruned: &Pruned,
        here: &KeyPath,
        original: &KeyPath,
        first: String,
    ) {
        let schema = self.reporter.schema::<T>();
        let place = here
            .steps()
            .iter()
            .try_fold(SchemaAt::root(&schema), |at, step| at.step(step));
        let mut required: Vec<String> = place
            .map(|place| place.required().into_iter().map(str::to_owned).collect())
            .unwrap_or_default();
        if !required.contains(&first) {
            required = vec![first];
        }
        let mapping = self.at.join(original);
        for key in required {
            let present = pruned
                .get(here)
                .is_some_and(|value| value.get(&key).is_some());
            if !present && !pruned.removed.contains(&original.key(&key)) {
                let help = place
                    .and_then(|place| place.description(&key))
                    .map(|text| format!("`{key}`: {text}"));
                message::missing_key(self.reporter, &mapping, &key, help);
            }
        }
    }
}

fn misplaced_lists(
    value: &Value,
    schema: Option<SchemaAt<'_>>,
    path: &KeyPath,
    found: &mut Vec<KeyPath>,
) {
    let below = |step: &Step| schema.and_then(|schema| schema.step(step));
    match value {
        Value::Array(_) if schema.is_some_and(SchemaAt::is_mapping) => found.push(path.clone()),
        Value::Array(items) => {
            for (index, item) in items
                .iter()
                .enumerate()
                .filter(|(_, item)| item.is_array() || item.is_object())
            {
                let step = Step::Index(index);
                misplaced_lists(item, below(&step), &path.step(step), found);
            }
        }
        Value::Object(map) => {
            for (key, item) in map
                .iter()
                .filter(|(_, item)| item.is_array() || item.is_object())
            {
                let step = Step::Key(key.clone());
                misplaced_lists(item, below(&step), &path.step(step), found);
            }
        }
        _ => {}
    }
}

/// A tree from which the parts at fault are taken, that still knows what stood where.
struct Pruned {
    value: Value,
    /// Paths in the original tree.
    removed: HashSet<KeyPath>,
    /// By the original path of a list: the original indices taken out of it.
    gaps: HashMap<KeyPath, BTreeSet<usize>>,
}

impl Pruned {
    fn new(value: Value) -> Self {
        Self {
            value,
            removed: HashSet::new(),
            gaps: HashMap::new(),
        }
    }

    /// Where what now stands at `path` stood at first.
    fn original(&self, path: &KeyPath) -> KeyPath {
        path.steps()
            .iter()
            .fold(KeyPath::ROOT, |original, step| match step {
                Step::Key(key) => original.key(key),
                Step::Index(index) => {
                    let gaps = self.gaps.get(&original);
                    let index = gaps
                        .into_iter()
                        .flatten()
                        .fold(*index, |at, gap| if *gap <= at { at + 1 } else { at });
                    original.index(index)
                }
            })
    }

    fn get(&self, path: &KeyPath) -> Option<&Value> {
        path.steps()
            .iter()
            .try_fold(&self.value, |value, step| match step {
                Step::Key(key) => value.get(key),
                Step::Index(index) => value.get(index),
            })
    }

    fn get_mut(&mut self, path: &KeyPath) -> Option<&mut Value> {
        path.steps()
            .iter()
            .try_fold(&mut self.value, |value, step| match step {
                Step::Key(key) => value.get_mut(key),
                Step::Index(index) => value.get_mut(index),
            })
    }

    /// Whether there was something to remove.
    fn remove(&mut self, path: &KeyPath) -> bool {
        let original = self.original(path);
        let Some((parent, last)) = path.split_last() else {
            return false;
        };
        let found = match (self.get_mut(&parent), last) {
            (Some(Value::Object(map)), Step::Key(key)) => map.shift_remove(key).is_some(),
            (Some(Value::Array(items)), Step::Index(index)) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        };
        if let (true, Some((list, Step::Index(index)))) = (found, original.split_last()) {
            self.gaps.entry(list).or_default().insert(*index);
        }
        self.removed.insert(original);
        found
    }
}

fn local_path(path: &serde_path_to_error::Path) -> KeyPath {
    let steps = path.iter().map_while(|segment| match segment {
        Segment::Seq { index } => Some(Some(Step::Index(*index))),
        Segment::Map { key } => Some(Some(Step::Key(key.clone()))),
        Segment::Enum { .. } => Some(None),
        Segment::Unknown => None,
    });
    steps
        .flatten()
        .fold(KeyPath::ROOT, |path, step| path.step(step))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::config::DurationText;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Outer {
        count: u32,
        wait: DurationText,
        #[serde(default)]
        items: Vec<Inner>,
        kind: Kind,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the errors are looked at")]
    struct Inner {
        name: String,
        size: u8,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Kind {
        Small,
        VeryLarge,
    }

    fn problems(value: Value) -> Vec<String> {
        let reporter = Reporter::default();
        let decoded = decode::<Outer>(&value, &KeyPath::of(["here"]), &["type"], &reporter);
        let problems = reporter.into_problems();
        assert_eq!(decoded.is_some(), problems.is_empty());
        problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect()
    }

    #[test]
    fn a_valid_value_has_no_problems() {
        let value = json!({ "count": 1, "wait": "1s", "items": [{ "name": "a", "size": 3 }], "kind": "very-large" });
        assert!(problems(value).is_empty());
    }

    #[test]
    fn every_problem_is_reported_once() {
        let value = json!({
            "count": "x", "wiat": 1, "kind": "huge",
            "items": [{ "name": 5, "size": 1 }, { "name": "b", "size": 300 }, { "name": "c" }, { "nmae": "d" }, 7]
        });
        let expected = [
            "`here.count` must be a whole number from 0 to 4294967295, not the text \"x\"",
            "`here.items[0].name` must be a text, not the number 5",
            "`here.items[1].size` must be a whole number from 0 to 255, not the number 300",
            "`here.items[2]` lacks the key `size`",
            "`here.items[3]` lacks the key `name`",
            "`here.items[3]` lacks the key `size`",
            "`here.items[4]` must be a mapping, not the number 7",
            "`here.kind`: unknown value `huge`",
            "`here` lacks the key `wait`",
            "unknown key `nmae` in `here.items[3]`",
            "unknown key `wiat` in `here`",
        ];
        let found = problems(value);
        for message in expected {
            assert!(
                found.iter().any(|problem| problem == message),
                "{message} in {found:#?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }
}
