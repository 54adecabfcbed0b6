//! Where a value stands in the config tree.

use std::fmt;

use serde_json::Value;

/// The way from the root of the config tree to one value, such as `handlers.price-order.set."data.total"`.
///
/// Keys are kept whole, since they may contain dots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(Vec<Step>);

/// One step of a [`KeyPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into a mapping.
    Key(String),
    /// Into a list, counted from 0.
    Index(usize),
}

impl KeyPath {
    /// The path of the whole tree.
    pub const ROOT: Self = Self(Vec::new());

    /// The path that the keys spell.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            keys.into_iter()
                .map(|key| Step::Key(key.to_owned()))
                .collect(),
        )
    }

    /// One key further.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.step(Step::Key(key.to_owned()))
    }

    /// One list item further.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index))
    }

    /// One step further.
    #[must_use]
    pub fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// This path, then the other's steps.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// The steps from the root on.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Splits off the last step; `None` at the root.
    pub fn split_last(&self) -> Option<(Self, &Step)> {
        let (last, rest) = self.0.split_last()?;
        Some((Self(rest.to_vec()), last))
    }

    /// What stands there.
    pub(crate) fn find_mut<'a>(&self, tree: &'a mut Value) -> Option<&'a mut Value> {
        self.0.iter().try_fold(tree, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        })
    }

    /// Whether one of the two paths leads to the other.
    pub fn is_related(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// Finds what `dotted` means in `value`: keys with dots are tried whole first, and where nothing (more) is
    /// found the path so far is the answer.
    pub fn resolve_dotted(value: &Value, dotted: &str) -> Self {
        let mut path = Self::ROOT;
        let (mut value, mut rest) = (value, dotted);
        while !rest.is_empty() {
            let ends = rest
                .match_indices('.')
                .map(|(at, _)| at)
                .chain([rest.len()]);
            let found = ends.collect::<Vec<_>>().into_iter().rev().find_map(|end| {
                let step = &rest[..end];
                match value {
                    Value::Object(map) => map
                        .get(step)
                        .map(|next| (Step::Key(step.to_owned()), next, end)),
                    Value::Array(list) => {
                        let index = step.parse::<usize>().ok()?;
                        list.get(index).map(|next| (Step::Index(index), next, end))
                    }
                    _ => None,
                }
            });
            let Some((step, next, end)) = found else {
                break;
            };
            path = path.step(step);
            value = next;
            rest = rest[end..].trim_start_matches('.');
        }
        path
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(formatter, "[{index}]")?,
                Step::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    if key.is_empty() || key.contains(['.', '[', ' ', '"']) {
                        write!(formatter, "{dot}{key:?}")?;
                    } else {
                        write!(formatter, "{dot}{key}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_with_dots_are_quoted() {
        let path = KeyPath::of(["handlers", "price-order", "set", "data.total"]).index(2);
        assert_eq!(
            path.to_string(),
            r#"handlers.price-order.set."data.total"[2]"#
        );
    }

    #[test]
    fn a_dotted_text_finds_keys_that_contain_dots() {
        let options = json!({ "set": { "data.total": "1" }, "to": ["a", "b"] });
        let found = |dotted: &str| KeyPath::resolve_dotted(&options, dotted).to_string();
        assert_eq!(found("set.data.total"), r#"set."data.total""#);
        assert_eq!(found("to.1"), "to[1]");
        assert_eq!(found("set.data.other"), "set");
        assert_eq!(found("nothing"), "");
    }
}
