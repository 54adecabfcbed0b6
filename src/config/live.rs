//! What a reload compares: each component's section as a fingerprint, and the sections that cannot change while the process runs.

use std::fmt;

use serde_json::Value;

use super::version;

/// The sections that a running process keeps as they are.
const FIXED: [&str; 4] = ["service", "journal", "dead_letters", "dedupe"];

/// A hash of all that makes up a component, secrets included: equal ones need not be started anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// That of a component with this section, in a config with these other sections that it depends on.
    pub(crate) fn of(component: &Value, config: &Value, depends_on: &[&str]) -> Self {
        let others = depends_on.iter().map(|section| config.get(*section));
        let parts = (component, others.collect::<Vec<_>>());
        let text = serde_json::to_string(&parts).unwrap_or_default();
        Self(version::fnv_1a(text.as_bytes()))
    }
}

/// The sections that cannot change while the process runs. They are shown to nobody.
#[derive(Clone, Default)]
pub struct Fixed(Value);

impl fmt::Debug for Fixed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fixed")
    }
}

impl Fixed {
    pub(crate) fn of(config: &Value) -> Self {
        let sections = FIXED.iter().filter_map(|name| {
            let section = config.get(*name)?;
            Some(((*name).to_owned(), section.clone()))
        });
        Self(Value::Object(sections.collect()))
    }

    /// The keys in which `other` differs.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        compare(&self.0, &other.0, String::new(), &mut found);
        found.sort();
        found
    }
}

fn compare(a: &Value, b: &Value, path: String, found: &mut Vec<String>) {
    match (a, b) {
        _ if a == b => {}
        // an empty section is one that is left out
        (Value::Object(map), Value::Null) | (Value::Null, Value::Object(map)) if map.is_empty() => {
        }
        (Value::Object(_), Value::Object(_) | Value::Null) | (Value::Null, Value::Object(_)) => {
            let keys = a.as_object().into_iter().chain(b.as_object()).flatten();
            let mut keys: Vec<&String> = keys.map(|(key, _)| key).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = match path.is_empty() {
                    true => key.clone(),
                    false => format!("{path}.{key}"),
                };
                compare(&a[key], &b[key], path, found);
            }
        }
        _ => found.push(path),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_by_its_keys() {
        let fixed = |value: Value| Fixed::of(&value);
        let before = fixed(json!({
            "service": { "data_dir": "a", "admin": { "listen": "x" } }, "sources": { "a": 1 },
        }));
        let after = fixed(json!({
            "service": { "data_dir": "b", "workers": 2 }, "sources": {}, "dedupe": {},
        }));
        assert_eq!(
            before.differences(&after),
            [
                "service.admin.listen",
                "service.data_dir",
                "service.workers"
            ]
        );
        assert_eq!(before.differences(&before), Vec::<String>::new());
    }

    #[test]
    fn a_component_is_the_same_as_long_as_nothing_that_it_depends_on_changes() {
        let of = |component: Value, config: Value| {
            Fingerprint::of(&component, &config, &["supervision", "faults"])
        };
        let before = of(
            json!({ "type": "map" }),
            json!({ "supervision": {}, "sinks": 1 }),
        );
        assert_eq!(
            before,
            of(json!({ "type": "map" }), json!({ "supervision": {} }))
        );
        assert_ne!(
            before,
            of(json!({ "type": "pass" }), json!({ "supervision": {} }))
        );
        assert_ne!(
            before,
            of(json!({ "type": "map" }), json!({ "faults": {} }))
        );
    }
}
