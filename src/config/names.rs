//! The names of the service and of components.

use serde_json::{Map, Value};

use super::{path::KeyPath, problems::Reporter};

/// Characters of a name at most.
const MAX_NAME_LENGTH: usize = 64;

/// Names of sinks that would mean something else in `to` or `routing.unmatched`.
pub(crate) const RESERVED_SINKS: [&str; 3] = ["router", "dead-letter", "drop"];

/// Why `name` cannot be one.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME_LENGTH || !name.chars().all(valid) {
        return Err(format!(
            "is no valid name: use letters, digits, `_` and `-`, {MAX_NAME_LENGTH} at most"
        ));
    }
    Ok(())
}

/// The named mappings of `sources`, `handlers` or `sinks`; what has no valid name or is no mapping is reported and
/// left out.
pub(crate) fn entries<'a>(
    tree: &'a Value,
    section: &str,
    reporter: &Reporter,
) -> Vec<(&'a str, &'a Value)> {
    let path = KeyPath::of([section]);
    let empty = || Vec::new();
    match tree.get(section) {
        None => empty(),
        Some(Value::Object(map)) => named(map, &path, reporter),
        Some(_) => {
            reporter.value(
                &path,
                format!("`{section}` must be a mapping from names to components"),
                None,
            );
            empty()
        }
    }
}

fn named<'a>(
    map: &'a Map<String, Value>,
    path: &KeyPath,
    reporter: &Reporter,
) -> Vec<(&'a str, &'a Value)> {
    let mut found = Vec::with_capacity(map.len());
    for (name, value) in map {
        let here = path.key(name);
        if let Err(why) = check(name) {
            reporter.key(&here, format!("`{here}` {why}"), None);
        }
        if value.is_object() {
            found.push((name.as_str(), value));
        } else {
            reporter.value(
                &here,
                format!("`{here}` must be a mapping with a `type`"),
                None,
            );
        }
    }
    found
}
