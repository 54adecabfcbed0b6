//! The value of an expression, and how JSON text becomes one: scalars in place, lists and objects only for functions that need them.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, Kind,
};
use cel::common::value::Val;

use super::arithmetic::Number;
use super::error::EvaluationError;
use veltrix_actors::json_scan::{self, ArrayCursor, Malformed, MemberStep, ObjectCursor};

/// Nesting beyond this is refused, as the sources do: it bounds the recursion.
pub(crate) const MAX_DEPTH: usize = 128;

/// What an expression evaluates to.
#[derive(Debug)]
pub(crate) enum Value<'v> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'v, str>),
    /// A list or an object of the event, still as its JSON text.
    Json(&'v str),
    /// What only CEL computes: lists, maps, bytes, times.
    Cel(Box<dyn Val + 'v>),
}

impl<'v> Value<'v> {
    /// The value that this JSON text stands for.
    #[inline]
    pub(crate) fn from_json(text: &'v str) -> Result<Self, EvaluationError> {
        Ok(match text.as_bytes().first() {
            Some(b'"') => Self::Text(json_scan::unescape(text).map_err(malformed)?),
            Some(b'{' | b'[') => Self::Json(text),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(number(text)?),
        })
    }

    /// The value that CEL computed; scalars leave their box.
    pub(crate) fn from_cel(value: Box<dyn Val + 'v>) -> Self {
        match value.get_type().kind() {
            Kind::NullType => return Self::Null,
            Kind::Boolean => {
                if let Some(inner) = value.downcast_ref::<CelBool>() {
                    return Self::Bool(*inner.inner());
                }
            }
            Kind::String => {
                if let Some(inner) = value.downcast_ref::<CelString<'v>>() {
                    let text = inner
                        .as_borrowed()
                        .map_or_else(|| Cow::Owned(inner.inner().to_owned()), Cow::Borrowed);
                    return Self::Text(text);
                }
            }
            _ => {
                if let Some(inner) = number_of(value.as_ref()) {
                    return Self::Number(inner);
                }
            }
        }
        Self::Cel(value)
    }

    /// The value as CEL's functions take it.
    pub(crate) fn into_cel(self) -> Result<Box<dyn Val + 'v>, EvaluationError> {
        Ok(match self {
            Self::Null => Box::new(CelNull),
            Self::Bool(value) => Box::new(CelBool::from(value)),
            Self::Number(value) => boxed_number(value),
            Self::Text(Cow::Borrowed(value)) => Box::new(CelString::from(value)),
            Self::Text(Cow::Owned(value)) => Box::new(CelString::from(value)),
            Self::Json(text) => tree(text, 0, 0).map_err(malformed)?.0,
            Self::Cel(value) => value,
        })
    }

    /// The name of its type, as CEL has it.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(Number::Int(_)) => "int",
            Self::Number(Number::Unsigned(_)) => "uint",
            Self::Number(Number::Double(_)) => "double",
            Self::Text(_) => "string",
            Self::Json(text) if text.starts_with('[') => "list",
            Self::Json(_) => "map",
            Self::Cel(value) => value.get_type().name(),
        }
    }
}

/// The number that a CEL value is, if it is one.
pub(crate) fn number_of(value: &dyn Val) -> Option<Number> {
    match value.get_type().kind() {
        Kind::Int => value
            .downcast_ref::<CelInt>()
            .map(|inner| Number::Int(*inner.inner())),
        Kind::UInt => value
            .downcast_ref::<CelUInt>()
            .map(|inner| Number::Unsigned(*inner.inner())),
        Kind::Double => value
            .downcast_ref::<CelDouble>()
            .map(|inner| Number::Double(*inner.inner())),
        _ => None,
    }
}

/// The number as CEL has it.
pub(crate) fn boxed_number<'v>(number: Number) -> Box<dyn Val + 'v> {
    match number {
        Number::Int(value) => Box::new(CelInt::from(value)),
        Number::Unsigned(value) => Box::new(CelUInt::from(value)),
        Number::Double(value) => Box::new(CelDouble::from(value)),
    }
}

/// A JSON number: an integer is an int, or a uint from 2^63 to 2^64 - 1 so that large ids stay exact; any other is a double.
#[inline]
fn number(text: &str) -> Result<Number, EvaluationError> {
    if let Ok(value) = text.parse::<i64>() {
        return Ok(Number::Int(value));
    }
    if let Ok(value) = text.parse::<u64>() {
        return Ok(Number::Unsigned(value));
    }
    text.parse::<f64>()
        .map(Number::Double)
        .map_err(|_| EvaluationError::failed(format!("'{text}' is not a JSON number")))
}

fn malformed(error: Malformed) -> EvaluationError {
    EvaluationError::failed(error.to_string())
}

/// The value at `start` as a tree for CEL, and its end.
fn tree<'v>(
    text: &'v str,
    start: usize,
    depth: usize,
) -> Result<(Box<dyn Val + 'v>, usize), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed { offset: start });
    }
    let bytes = text.as_bytes();
    match bytes.get(start) {
        Some(b'{') => map_tree(text, start, depth),
        Some(b'[') => list_tree(text, start, depth),
        _ => {
            let end = json_scan::skip_value(bytes, start)?;
            let scalar = Value::from_json(&text[start..end])
                .and_then(Value::into_cel)
                .map_err(|_| Malformed { offset: start })?;
            Ok((scalar, end))
        }
    }
}

fn map_tree<'v>(
    text: &'v str,
    start: usize,
    depth: usize,
) -> Result<(Box<dyn Val + 'v>, usize), Malformed> {
    let mut cursor = ObjectCursor::new(text.as_bytes(), start);
    let mut entries: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::new();
    loop {
        match cursor.step()? {
            MemberStep::End { close } => return Ok((Box::new(CelMap::from(entries)), close + 1)),
            MemberStep::Member {
                key, value_start, ..
            } => {
                let name = match json_scan::unescape(&text[key.start..key.end])? {
                    Cow::Borrowed(name) => CelString::from(name),
                    Cow::Owned(name) => CelString::from(name),
                };
                let (value, end) = tree(text, value_start, depth + 1)?;
                entries.insert(CelMapKey::String(name), value);
                cursor.value_ended(end);
            }
        }
    }
}

fn list_tree<'v>(
    text: &'v str,
    start: usize,
    depth: usize,
) -> Result<(Box<dyn Val + 'v>, usize), Malformed> {
    let mut cursor = ArrayCursor::new(text.as_bytes(), start);
    let mut elements: Vec<Box<dyn Val + 'v>> = Vec::new();
    while let Some(value_start) = cursor.step()? {
        let (value, end) = tree(text, value_start, depth + 1)?;
        elements.push(value);
        cursor.value_ended(end);
    }
    Ok((Box::new(CelList::from(elements)), cursor.end()))
}
