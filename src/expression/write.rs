//! Writes values as JSON text straight into a buffer, without a tree between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cel::common::types::{CelBool, CelBytes, CelList, CelMap, CelMapKey, CelString, CelType, Kind};
use cel::common::value::{CowVal, Val};

use super::arithmetic::Number;
use super::environment::environment;
use super::error::EvaluationError;
use super::value::{Value, number_of};

/// Appends the JSON text of `value`. A double that is not finite has none: an error.
pub(crate) fn write_json(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), EvaluationError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => write_bool(*value, out),
        Value::Number(number) => write_number(*number, out)?,
        Value::Text(text) => write_text(text, out),
        Value::Json(text) => out.extend_from_slice(text.as_bytes()),
        Value::Cel(value) => write_cel(value.as_ref(), out)?,
    }
    Ok(())
}

/// Appends `text` as a JSON string.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail, and a str always has a JSON form.
    serde_json::to_writer(out, text).expect("a string is written into memory");
}

fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_number(number: Number, out: &mut Vec<u8>) -> Result<(), EvaluationError> {
    match number {
        Number::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Number::Unsigned(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes())
        }
        Number::Double(value) if value.is_finite() => {
            // The shortest text that reads back as the same double; a whole number keeps its `.0` and so its type.
            serde_json::to_writer(out, &value).expect("a finite double is written into memory");
        }
        Number::Double(value) => {
            return Err(EvaluationError::failed(format!("{value} has no JSON form")));
        }
    }
    Ok(())
}

fn write_cel(value: &dyn Val, out: &mut Vec<u8>) -> Result<(), EvaluationError> {
    let kind = value.get_type().kind();
    if let Some(number) = number_of(value) {
        return write_number(number, out);
    }
    if let Some(text) = value.downcast_ref::<CelString>() {
        write_text(text.inner(), out);
    } else if let Some(truth) = value.downcast_ref::<CelBool>() {
        write_bool(*truth.inner(), out);
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        write_list(list, out)?;
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        write_map(map, out)?;
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        write_text(&STANDARD.encode(bytes.inner()), out);
    } else if let Some(named) = value.downcast_ref::<CelType>() {
        write_text(named.name(), out);
    } else if kind == Kind::NullType {
        out.extend_from_slice(b"null");
    } else if matches!(kind, Kind::Timestamp | Kind::Duration) {
        write_time(value, out)?;
    } else {
        return Err(no_form(value));
    }
    Ok(())
}

fn write_list(list: &CelList<'_>, out: &mut Vec<u8>) -> Result<(), EvaluationError> {
    out.push(b'[');
    for (index, element) in list.inner().iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_cel(element.as_ref(), out)?;
    }
    out.push(b']');
    Ok(())
}

/// Keys are sorted: CEL keeps maps hashed, and a result must be the same on every redelivery.
fn write_map(map: &CelMap<'_>, out: &mut Vec<u8>) -> Result<(), EvaluationError> {
    let mut entries: Vec<(String, &dyn Val)> = map
        .inner()
        .iter()
        .map(|(key, value)| (key_text(key), value.as_ref()))
        .collect();
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    out.push(b'{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(&key, out);
        out.push(b':');
        write_cel(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::String(text) => text.inner().to_owned(),
        CelMapKey::Int(number) => number.inner().to_string(),
        CelMapKey::UInt(number) => number.inner().to_string(),
        CelMapKey::Bool(truth) => truth.inner().to_string(),
    }
}

/// CEL's own `string()` gives times their RFC 3339 and durations their seconds form.
fn write_time(value: &dyn Val, out: &mut Vec<u8>) -> Result<(), EvaluationError> {
    let args = vec![CowVal::Borrowed(value)];
    let convert = environment()
        .find_overload("string", &args)
        .ok_or_else(|| no_form(value))?;
    let text = convert(args).map_err(|error| EvaluationError::failed(error.to_string()))?;
    let text = text
        .downcast_ref::<CelString>()
        .ok_or_else(|| no_form(value))?;
    write_text(text.inner(), out);
    Ok(())
}

fn no_form(value: &dyn Val) -> EvaluationError {
    EvaluationError::failed(format!("{} has no JSON form", value.get_type().name()))
}
