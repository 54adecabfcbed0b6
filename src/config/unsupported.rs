//! Keys that the documentation promises for later versions: refused by name rather than taken in silence.

use serde_json::Value;

use super::{path::KeyPath, problems::Reporter};

/// Where they stand; `*` is any name.
const UNSUPPORTED: [&[&str]; 1] = [&["service", "admin", "auth"]];

/// Takes them out of the tree and reports each.
pub(crate) fn refuse(tree: &mut Value, reporter: &Reporter) {
    for pattern in UNSUPPORTED {
        refuse_at(tree, pattern, &KeyPath::ROOT, reporter);
    }
}

fn refuse_at(value: &mut Value, pattern: &[&str], path: &KeyPath, reporter: &Reporter) {
    let (Some(map), [first, rest @ ..]) = (value.as_object_mut(), pattern) else {
        return;
    };
    if *first == "*" {
        map.iter_mut()
            .for_each(|(key, value)| refuse_at(value, rest, &path.key(key), reporter));
    } else if !rest.is_empty() {
        if let Some(value) = map.get_mut(*first) {
            refuse_at(value, rest, &path.key(first), reporter);
        }
    } else if map.shift_remove(*first).is_some() {
        let path = path.key(first);
        reporter.key(
            &path,
            format!("`{path}` is not supported by this version"),
            None,
        );
    }
}
