//! Filters as users write them: pairs of a name and a text, the same in the API and on the command line.

use std::time::{Duration, SystemTime};

use veltrix_actors::{DeadLetterFilter, FailureClass, TypePattern};

use crate::config::DurationText;

/// Their names.
pub(crate) const FILTERS: [&str; 7] = ["handler", "sink", "class", "type", "from", "to", "id"];

/// Sets the filter of that name; false if there is none.
///
/// # Errors
/// What the text should be.
pub(crate) fn filter(
    filter: &mut DeadLetterFilter,
    name: &str,
    text: &str,
) -> Result<bool, String> {
    match name {
        "handler" | "sink" => {
            let branch = format!("{name}.{text}");
            if filter.branch.replace(branch).is_some() {
                return Err(
                    "`handler` and `sink` exclude each other: a dead letter is of one of them"
                        .to_owned(),
                );
            }
        }
        "class" => filter.class = Some(class(text)?),
        "type" => {
            let types = TypePattern::parse(text);
            filter.types = Some(types.map_err(|error| format!("`type`: {error}"))?);
        }
        "from" => filter.from = Some(time(name, text)?),
        "to" => filter.until = Some(time(name, text)?),
        "id" => filter.id = Some(text.to_owned()),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A time of RFC 3339, or how long ago it was.
///
/// # Errors
/// It is neither; `name` is what the text was given for.
pub(crate) fn time(name: &str, text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let ago = text.parse::<DurationText>().map(|text| text.0);
    let ago = ago.map_err(|_| {
        format!("`{name}` must be a time such as `2026-01-31T12:00:00Z`, or how long ago such as `10m`, not `{text}`")
    })?;
    let now = SystemTime::now();
    Ok(now
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH + Duration::ZERO))
}

fn class(text: &str) -> Result<FailureClass, String> {
    let mut classes = FailureClass::ALL.into_iter();
    classes.find(|class| class.as_str() == text).ok_or_else(|| {
        let known = FailureClass::ALL.map(FailureClass::as_str).join(", ");
        format!("`class` must be one of {known}, not `{text}`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        let date = time("from", "1970-01-01T00:00:10Z");
        assert_eq!(date, Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(10)));
        let ago = time("from", "10m").unwrap().elapsed().unwrap();
        assert!(ago >= Duration::from_secs(600) && ago < Duration::from_secs(700));
        assert!(time("to", "soon").unwrap_err().starts_with("`to` must be"));
    }

    #[test]
    fn a_dead_letter_is_of_a_handler_or_of_a_sink() {
        let mut wanted = DeadLetterFilter::default();
        assert_eq!(filter(&mut wanted, "handler", "h"), Ok(true));
        assert_eq!(wanted.branch.as_deref(), Some("handler.h"));
        assert!(filter(&mut wanted, "sink", "s").is_err());
        assert_eq!(filter(&mut wanted, "colour", "red"), Ok(false));
    }
}
