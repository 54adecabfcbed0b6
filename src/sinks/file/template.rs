//! The path template: text with `{type}`, `{source}`, `{subject}` and `{date}`.

use veltrix_actors::Event;

use super::{day, file_name};

/// Bytes that a name may have on common file systems, less room for the suffix of rotated files.
const NAME_BYTES_MAX: usize = 255 - 5;
/// Bytes of one filled-in value.
const VALUE_BYTES_MAX: usize = 128;
/// A value needs this many bytes: some of its own and a hash.
const VALUE_BYTES_MIN: usize = 32;

/// A parsed path template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
    value_bytes_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Type,
    Source,
    Subject,
    Date,
}

impl Template {
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = path;
        while !rest.is_empty() {
            let (text, behind) = rest.split_once('{').unwrap_or((rest, ""));
            if text.contains('}') {
                return Err(format!("`{path}` has a `}}` without `{{`"));
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            if text.len() == rest.len() {
                break;
            }
            let (name, behind) = behind
                .split_once('}')
                .ok_or_else(|| format!("`{path}` has a `{{` without `}}`"))?;
            parts.push(match name {
                "type" => Part::Type,
                "source" => Part::Source,
                "subject" => Part::Subject,
                "date" => Part::Date,
                _ => {
                    return Err(format!(
                        "`{{{name}}}` is not known; use `{{type}}`, `{{source}}`, `{{subject}}` or `{{date}}`"
                    ));
                }
            });
            rest = behind;
        }
        let value_bytes_max = value_bytes_max(path, &parts)?;
        Ok(Self {
            parts,
            value_bytes_max,
        })
    }

    /// Whether all that the path takes from an event is its type.
    pub(super) fn needs_type_only(&self) -> bool {
        !self.parts.contains(&Part::Source) && !self.parts.contains(&Part::Subject)
    }

    /// Whether the path is the same for all events of a day.
    pub(super) fn is_same_for_all(&self) -> bool {
        self.needs_type_only() && !self.parts.contains(&Part::Type)
    }

    pub(super) fn needs_date(&self) -> bool {
        self.parts.contains(&Part::Date)
    }

    pub(super) fn ends_in_value(&self) -> bool {
        !matches!(self.parts.last(), Some(Part::Text(_)))
    }

    /// Writes the event's path over what is in `path`.
    pub(super) fn fill(&self, event: &Event<'_>, utc_day: u64, path: &mut String) {
        path.clear();
        for part in &self.parts {
            let value = match part {
                Part::Text(text) => {
                    path.push_str(text);
                    continue;
                }
                Part::Date => {
                    path.push_str(&day::text(utc_day));
                    continue;
                }
                Part::Type => event.event_type(),
                Part::Source => event.source(),
                Part::Subject => event.subject().unwrap_or_default(),
            };
            file_name::push(path, &value, self.value_bytes_max);
        }
    }
}

/// How long values may get so that no name in the path gets too long.
fn value_bytes_max(path: &str, parts: &[Part]) -> Result<usize, String> {
    let mut limit = VALUE_BYTES_MAX;
    let (mut text_bytes, mut values) = (0, 0);
    let mut end_name = |text_bytes: usize, values: usize| {
        let room = NAME_BYTES_MAX.checked_sub(text_bytes);
        match room.map(|room| room.checked_div(values).unwrap_or(VALUE_BYTES_MAX)) {
            Some(each) if each >= VALUE_BYTES_MIN => limit = limit.min(each),
            _ => {
                return Err(format!(
                    "`{path}` has a name that may get longer than 250 bytes"
                ));
            }
        }
        Ok(())
    };
    for part in parts {
        match part {
            Part::Text(text) => {
                let mut names = text.split('/');
                text_bytes += names.next().map_or(0, str::len);
                for name in names {
                    end_name(text_bytes, values)?;
                    (text_bytes, values) = (name.len(), 0);
                }
            }
            Part::Date => text_bytes += "2026-11-23".len(),
            Part::Type | Part::Source | Part::Subject => values += 1,
        }
    }
    if text_bytes + values == 0 {
        return Err(format!("`{path}` is not the path of a file"));
    }
    end_name(text_bytes, values)?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::Trial;

    #[test]
    fn fills_in_what_the_event_says() {
        let template = Template::parse("out/{date}/{type}/{source}-{subject}.ndjson").unwrap();
        let line =
            r#"{"specversion":"1.0","id":"1","source":"/a/b","type":"t\u002e1","subject":"../x"}"#;
        let batch = Trial::new("s", "h").batch(&[line]).unwrap();
        let mut path = "old".to_owned();
        template.fill(&batch.event(0), 20_780, &mut path);
        assert_eq!(path, "out/2026-11-23/t.1/%2Fa%2Fb-..%2Fx.ndjson");
        assert!(template.needs_date() && !template.needs_type_only());
        let constant = Template::parse("out.ndjson").unwrap();
        assert!(constant.is_same_for_all() && !constant.ends_in_value());
    }

    #[test]
    fn names_what_is_wrong_with_a_template() {
        let long = "x".repeat(240);
        for (path, expected) in [
            ("", "not the path of a file"),
            ("out/", "not the path of a file"),
            ("{kind}", "`{kind}` is not known; use `{type}`"),
            ("out/{type", "`{` without `}`"),
            ("out/type}", "`}` without `{`"),
            (&format!("{long}{{type}}"), "longer than 250 bytes"),
            (
                "{type}{source}{subject}{type}{source}{subject}{type}{source}",
                "longer than 250 bytes",
            ),
        ] {
            let error = Template::parse(path).unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }
}
