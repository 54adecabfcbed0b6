//! What keeps events in order: events with the same key pass a handler one after the other.

/// The part of an event that its order hangs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventKey {
    /// The subject, else the source.
    #[default]
    Subject,
    /// The source.
    Source,
    /// The id: no two events share a lane's order but by chance.
    Id,
    /// The type.
    Type,
    /// An extension attribute.
    Extension(String),
    /// A place in `data`, step by step.
    Data(Vec<String>),
}

/// Attributes of the specification that make no key.
const NO_KEYS: [&str; 6] = [
    "specversion",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

impl EventKey {
    /// Reads `subject`, `source`, `id`, `type`, an extension's name or `data.<path>`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("data.") {
            let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
            if steps.iter().any(String::is_empty) {
                return Err(format!("`{text}` has an empty step"));
            }
            return Ok(Self::Data(steps));
        }
        match text {
            "subject" => Ok(Self::Subject),
            "source" => Ok(Self::Source),
            "id" => Ok(Self::Id),
            "type" => Ok(Self::Type),
            other if NO_KEYS.contains(&other) => Err(format!("`{other}` cannot be a key")),
            // extension names: CloudEvents 1.0, "Attribute Naming Convention"
            other
                if !other.is_empty()
                    && other
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) =>
            {
                Ok(Self::Extension(other.to_owned()))
            }
            other => Err(format!("`{other}` is no attribute of an event")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_attributes_extensions_and_data_paths() {
        assert_eq!(EventKey::parse("subject"), Ok(EventKey::Subject));
        assert_eq!(
            EventKey::parse("tenantid"),
            Ok(EventKey::Extension("tenantid".to_owned()))
        );
        assert_eq!(
            EventKey::parse("data.a.b"),
            Ok(EventKey::Data(vec!["a".to_owned(), "b".to_owned()]))
        );
        for wrong in [
            "",
            "data",
            "data.",
            "data..a",
            "time",
            "Tenant",
            "tenant-id",
            "specversion",
        ] {
            assert!(EventKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
