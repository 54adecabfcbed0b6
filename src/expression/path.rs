//! A path to a value of an event: an attribute, or members of `data`, as it is written in `set`, `rename` and `remove`.

use std::fmt;
use std::str::FromStr;

/// The longest path accepted, in segments; it bounds the recursion of the scan and the splice.
pub(crate) const MAX_SEGMENTS: usize = 32;

/// One step down into a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// A member of an object, unescaped.
    Key(Box<str>),
    /// An element of a list, from 0.
    Index(usize),
}

/// `data.items[0].sku`, or `subject`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) root: Box<str>,
    pub(crate) segments: Vec<Segment>,
}

impl Path {
    /// Whether `self` is `other` or lies above it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.root == other.root && other.segments.starts_with(&self.segments)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        for segment in &self.segments {
            match segment {
                Segment::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Segment::Key(key) => write!(f, "[{}]", serde_json::Value::from(&**key))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && !key.contains(['.', '[', ']', '"', '\'', ' '])
}

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error(
        "'{0}' is not a path: write data.field, data[\"any key\"].field, or an attribute such as subject"
    )]
    Syntax(String),
    #[error("'{0}' is deeper than {MAX_SEGMENTS} segments")]
    TooDeep(String),
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let syntax = || PathError::Syntax(text.to_owned());
        let (root, mut rest) = take_name(text).ok_or_else(syntax)?;
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let (segment, after) = if let Some(after_dot) = rest.strip_prefix('.') {
                let (name, after) = take_name(after_dot).ok_or_else(syntax)?;
                (Segment::Key(name.into()), after)
            } else {
                take_bracket(rest).ok_or_else(syntax)?
            };
            segments.push(segment);
            rest = after;
            if segments.len() > MAX_SEGMENTS {
                return Err(PathError::TooDeep(text.to_owned()));
            }
        }
        Ok(Self {
            root: root.into(),
            segments,
        })
    }
}

fn take_name(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(['.', '[', ']', '"', '\'', ' '])
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then_some((name, rest))
}

/// `["any key"]`, `['any key']` or `[0]`.
fn take_bracket(text: &str) -> Option<(Segment, &str)> {
    let inner = text.strip_prefix('[')?;
    if let Some(quoted) = inner.strip_prefix('\'') {
        let end = quoted.find('\'')?;
        let after = quoted[end + 1..].strip_prefix(']')?;
        return Some((Segment::Key(quoted[..end].into()), after));
    }
    if inner.starts_with('"') {
        let end = veltrix_actors::json_scan::skip_string(inner.as_bytes(), 0).ok()?;
        let key = veltrix_actors::json_scan::unescape(inner.get(..end)?).ok()?;
        let after = inner.get(end..)?.strip_prefix(']')?;
        return Some((Segment::Key(key.as_ref().into()), after));
    }
    let end = inner.find(']')?;
    let index = inner[..end].parse().ok()?;
    Some((Segment::Index(index), &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_it_is_read() {
        for text in [
            "subject",
            "data",
            "data.a.b",
            "data.items[0].sku",
            r#"data["a.b"].c"#,
            r#"data["a\"b"]"#,
        ] {
            assert_eq!(text.parse::<Path>().expect(text).to_string(), text);
        }
        assert_eq!(
            "data['x y']".parse::<Path>().expect("quoted").to_string(),
            r#"data["x y"]"#
        );
    }

    #[test]
    fn what_is_not_a_path_is_refused() {
        for text in [
            "", ".", "data.", "data..a", "data[", "data[x]", "data['x'", "data a", "data[0]a",
        ] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
        assert!(
            format!("data{}", ".a".repeat(MAX_SEGMENTS + 1))
                .parse::<Path>()
                .is_err()
        );
    }
}
