//! Which media types hold JSON, and the ones that CloudEvents over HTTP are recognised by.

/// Of a message that is one event in the JSON format (HTTP binding 3.2).
pub(crate) const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";
/// Of a message that is a JSON array of events (HTTP binding 3.3).
pub(crate) const BATCH: &str = "application/cloudevents-batch+json; charset=UTF-8";
/// Of plain JSON.
pub(crate) const JSON: &str = "application/json";

/// The media type without parameters, trimmed.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether data of this type is JSON: a subtype `json` or one that ends with `+json` (JSON format 3.1).
pub(crate) fn is_json(media_type: &str) -> bool {
    essence(media_type).split_once('/').is_some_and(|(_, sub)| {
        let sub = sub.to_ascii_lowercase();
        sub == "json" || sub.ends_with("+json")
    })
}

/// Whether data of this type is text that fits a JSON string as it is.
pub(crate) fn is_text(media_type: &str) -> bool {
    let essence = essence(media_type).to_ascii_lowercase();
    essence.starts_with("text/") || essence.ends_with("/xml") || essence.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_recognised_by_subtype_and_suffix() {
        for json in [
            "application/json",
            "text/json; charset=utf-8",
            "Application/Problem+JSON",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["application/jsonl", "text/plain", "json", "application/xml"] {
            assert!(!is_json(other), "{other}");
        }
        assert!(is_text("text/plain") && is_text("application/atom+xml"));
        assert!(!is_text("application/octet-stream"));
    }
}
