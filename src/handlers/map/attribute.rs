//! What an attribute of an event may be set to.

use std::borrow::Cow;

use crate::expression::{is_timestamp, kind_of, unescape};

/// The longest attribute, in bytes of JSON text: the sources refuse longer ones.
const MAX_ATTRIBUTE_BYTES: usize = 65_535;

/// Whether the JSON text may be the value of an attribute: a string, or for an extension also a bool or an integer of 32 bits
/// (CloudEvents 1.0, "Type System"); if not, what it is.
pub(super) fn check_attribute(name: &str, value: &str) -> Result<(), Cow<'static, str>> {
    if value.len() > MAX_ATTRIBUTE_BYTES {
        return Err(format!("longer than {MAX_ATTRIBUTE_BYTES} bytes").into());
    }
    let extension = !matches!(name, "subject" | "time" | "datacontenttype" | "dataschema");
    match value.as_bytes().first() {
        Some(b'"') if value == "\"\"" => Err("an empty string".into()),
        Some(b'"') if name == "time" && !unescape(value).is_ok_and(|text| is_timestamp(&text)) => {
            Err(format!("{value}, which is not an RFC 3339 time").into())
        }
        Some(b'"') => Ok(()),
        Some(b't' | b'f') if extension => Ok(()),
        Some(b'-' | b'0'..=b'9') if extension && value.parse::<i32>().is_ok() => Ok(()),
        Some(b'-' | b'0'..=b'9') if extension => {
            Err(format!("{value}: a number must be an integer of 32 bits").into())
        }
        _ => Err(kind_of(value).into()),
    }
}

pub(super) fn attribute_text(value: &[u8]) -> Result<&str, Cow<'static, str>> {
    std::str::from_utf8(value).map_err(|_| Cow::from("text that is not UTF-8"))
}
