//! What can be wrong with a map's options before any event comes, each with the key it stands at.

use crate::expression::{Path, Segment, is_attribute_name};

/// Attributes that make the event the one it is: a map never touches them.
const IDENTITY: [&str; 4] = ["id", "source", "type", "specversion"];

/// The problems found, as (key path, message).
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<(String, String)>,
}

impl Problems {
    pub(crate) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.found.push((key.into(), message.into()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_found(self) -> Vec<(String, String)> {
        self.found
    }

    /// Reads `text` as a path that may be edited.
    pub(crate) fn editable(&mut self, key: &str, text: &str) -> Option<Path> {
        let path = match text.parse::<Path>() {
            Ok(path) => path,
            Err(error) => {
                self.add(key, error.to_string());
                return None;
            }
        };
        match refusal(&path) {
            None => Some(path),
            Some(message) => {
                self.add(key, message);
                None
            }
        }
    }

    /// Reads as [`Self::editable`], and refuses `data` as a whole.
    pub(crate) fn editable_part(&mut self, key: &str, text: &str) -> Option<Path> {
        let path = self.editable(key, text)?;
        if &*path.root == "data" && path.segments.is_empty() {
            self.add(
                key,
                "'data' as a whole can only be set: name a member, such as data.field",
            );
            return None;
        }
        Some(path)
    }
}

fn refusal(path: &Path) -> Option<String> {
    if path
        .segments
        .iter()
        .any(|segment| matches!(segment, Segment::Index(_)))
    {
        return Some(format!(
            "'{path}' is an element of a list: only members of objects can be edited"
        ));
    }
    let root = &*path.root;
    if root == "data" {
        return None;
    }
    if IDENTITY.contains(&root) {
        return Some(format!(
            "'{root}' cannot be edited: valid are data and its members, subject, time, datacontenttype, dataschema and extensions"
        ));
    }
    if !is_attribute_name(root) {
        return Some(format!(
            "'{root}' is not an attribute: valid are data and its members, subject, time, datacontenttype, dataschema and extensions \
             (lowercase letters and digits)"
        ));
    }
    if !path.segments.is_empty() {
        return Some(format!(
            "the attribute '{root}' has no members: did you mean data.{path}"
        ));
    }
    None
}

/// The path from the root of the line, where `data` and attributes are members alike.
pub(crate) fn line_segments(path: &Path) -> Vec<Segment> {
    let mut segments = vec![Segment::Key(path.root.clone())];
    segments.extend(path.segments.iter().cloned());
    segments
}
