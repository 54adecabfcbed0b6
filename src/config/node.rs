//! One parsed config file: values with their spans, before layering.

use std::collections::HashMap;

use config::ValueKind;

use super::origins::{Origin, OriginChildren, OriginNode, Span};

/// Mappings and lists inside one another at most.
pub(crate) const MAX_DEPTH: usize = 64;

/// Values in one file at most, counting those that YAML aliases repeat.
pub(crate) const MAX_NODES: usize = 1_000_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar and, where it may be read otherwise, the text it was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    /// This value and all below it.
    pub(crate) fn count(&self) -> usize {
        match &self.kind {
            NodeKind::Scalar(_) => 1,
            NodeKind::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            NodeKind::Map(entries) => {
                1 + entries
                    .iter()
                    .map(|entry| entry.value.count())
                    .sum::<usize>()
            }
        }
    }

    /// The value for the `config` crate and, in the same shape, the origin of each part, made from the spans of its
    /// key and its value.
    pub(crate) fn split(
        self,
        key: Option<Span>,
        origin_of: &impl Fn(Option<Span>, Span) -> Origin,
    ) -> (config::Value, OriginNode) {
        let origin = origin_of(key, self.span);
        let (kind, children) = match self.kind {
            NodeKind::Scalar(scalar) => (scalar.into(), OriginChildren::None),
            NodeKind::List(items) => {
                let (values, origins) = items
                    .into_iter()
                    .map(|item| item.split(None, origin_of))
                    .unzip();
                (ValueKind::Array(values), OriginChildren::List(origins))
            }
            NodeKind::Map(entries) => {
                let mut table = config::Map::with_capacity(entries.len());
                let mut origins = HashMap::with_capacity(entries.len());
                for entry in entries {
                    let (value, origin) = entry.value.split(Some(entry.key_span), origin_of);
                    table.insert(entry.key.clone(), value);
                    origins.insert(entry.key, origin);
                }
                (ValueKind::Table(table), OriginChildren::Map(origins))
            }
        };
        (
            config::Value::new(None, kind),
            OriginNode::new(origin, children),
        )
    }
}

impl From<Scalar> for ValueKind {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Nil,
            Scalar::Boolean(value) => Self::Boolean(value),
            Scalar::Integer(value) => Self::I64(value),
            Scalar::Unsigned(value) => Self::U64(value),
            Scalar::Float(value) => Self::Float(value),
            Scalar::Text(value) => Self::String(value),
        }
    }
}

impl Scalar {
    /// Reads a plain scalar by the YAML 1.2 core schema: `on`, `yes` and `no` are text, and so is what no finite
    /// JSON number can hold (`.inf`).
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Boolean(true),
            "false" | "False" | "FALSE" => return Self::Boolean(false),
            _ => {}
        }
        let radix = [("0x", 16), ("0o", 8)];
        if let Some((digits, radix)) = radix
            .iter()
            .find_map(|(prefix, radix)| Some((text.strip_prefix(prefix)?, *radix)))
        {
            let number = u64::from_str_radix(digits, radix)
                .ok()
                .filter(|_| !digits.starts_with('+'));
            return number.map_or_else(|| Self::Text(text.to_owned()), Self::unsigned);
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Self::Text(text.to_owned());
        }
        if let Ok(number) = text.parse() {
            return Self::Integer(number);
        }
        if let Ok(number) = text.parse() {
            return Self::Unsigned(number);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Self::Float(number),
            _ => Self::Text(text.to_owned()),
        }
    }

    fn unsigned(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Unsigned(number), Self::Integer)
    }

    /// The same value in the merged tree.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Boolean(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::Unsigned(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let text = |text: &str| Scalar::Text(text.to_owned());
        let cases = [
            ("4", Scalar::Integer(4)),
            ("-3", Scalar::Integer(-3)),
            ("+3", Scalar::Integer(3)),
            ("0x1F", Scalar::Integer(31)),
            ("0o17", Scalar::Integer(15)),
            ("18446744073709551615", Scalar::Unsigned(u64::MAX)),
            ("0.5", Scalar::Float(0.5)),
            (".5", Scalar::Float(0.5)),
            ("1e3", Scalar::Float(1000.0)),
            ("true", Scalar::Boolean(true)),
            ("~", Scalar::Null),
            ("", Scalar::Null),
            ("on", text("on")),
            ("yes", text("yes")),
            ("10s", text("10s")),
            (".inf", text(".inf")),
            ("nan", text("nan")),
            ("infinity", text("infinity")),
            ("1.2.3", text("1.2.3")),
            ("127.0.0.1:80", text("127.0.0.1:80")),
            ("0x", text("0x")),
            (".", text(".")),
        ];
        for (written, expected) in cases {
            assert_eq!(Scalar::parse(written), expected, "{written}");
        }
    }
}
