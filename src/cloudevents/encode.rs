//! An event → the HTTP message that carries it: structured, batched or binary.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use veltrix_actors::Event;

use super::{media_type, percent};

/// An event in binary mode (HTTP binding 3.1): attributes as headers, the data alone as body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BinaryMessage<'a> {
    /// `ce-*` headers by lower-case name, with values that may stand in a header as they are.
    pub(crate) headers: Vec<(String, String)>,
    /// The `Content-Type`; `None` if there is no data.
    pub(crate) content_type: Option<Cow<'a, str>>,
    /// The data; empty if there is none.
    pub(crate) body: Cow<'a, [u8]>,
}

/// The body of a structured message, to be sent as [`media_type::STRUCTURED`].
pub(crate) fn structured<'a>(event: &Event<'a>) -> &'a str {
    event.line()
}

/// Appends the body of a batched message, to be sent as [`media_type::BATCH`].
pub(crate) fn batch<'a>(events: impl Iterator<Item = Event<'a>>, body: &mut Vec<u8>) {
    body.push(b'[');
    for (index, event) in events.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event.line().as_bytes());
    }
    body.push(b']');
}

/// The event as headers and body.
pub(crate) fn binary<'a>(event: &Event<'a>) -> BinaryMessage<'a> {
    let mut headers = Vec::with_capacity(8);
    let mut content_type = None;
    let mut base64 = None;
    for (name, value) in event.attributes() {
        match &*name {
            "datacontenttype" => content_type = Some(text(value)),
            "data_base64" => base64 = Some(text(value)),
            _ => headers.push((
                format!("ce-{name}"),
                percent::encode(&text(value)).into_owned(),
            )),
        }
    }
    let body = match (event.data(), base64) {
        (Some(json), _) => {
            // JSON format 3.1.1: without a content type, data in the JSON format is JSON.
            let declared = content_type.get_or_insert(Cow::Borrowed(media_type::JSON));
            match media_type::is_json(declared) || !json.starts_with('"') {
                true => Cow::Borrowed(json.as_bytes()),
                false => bytes(text(json)),
            }
        }
        // Valid by the envelope's check up to trailing bits, which some senders leave set.
        (None, Some(base64)) => STANDARD
            .decode(&*base64)
            .map_or_else(|_| lenient(&base64), Cow::Owned),
        (None, None) => Cow::Borrowed(&[][..]),
    };
    BinaryMessage {
        headers,
        content_type: content_type.map(header_text),
        body,
    }
}

/// A JSON string's content with its escapes resolved; the text itself for any other JSON value.
fn text(json: &str) -> Cow<'_, str> {
    match json
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(content) if !content.contains('\\') => Cow::Borrowed(content),
        Some(_) => serde_json::from_str(json).map_or(Cow::Borrowed(json), Cow::Owned),
        None => Cow::Borrowed(json),
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// A media type goes into its header unencoded, so what cannot stand there is left out.
fn header_text(text: Cow<'_, str>) -> Cow<'_, str> {
    let stands = |c: char| matches!(c, ' '..='~');
    match text.chars().all(stands) {
        true => text,
        false => Cow::Owned(text.chars().filter(|c| stands(*c)).collect()),
    }
}

fn lenient(base64: &str) -> Cow<'static, [u8]> {
    use base64::alphabet;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, config)
        .decode(base64)
        .map_or(Cow::Borrowed(&[]), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use veltrix_actors::{Intake, detached_types};

    use super::*;

    fn with_event<T>(members: &str, use_it: impl FnOnce(&Event<'_>) -> T) -> T {
        let line =
            format!(r#"{{"specversion":"1.0","id":"a 1","source":"/s","type":"t"{members}}}"#);
        let mut intake = Intake::over(String::new());
        intake
            .push_line(&line, &mut detached_types())
            .expect("a valid event");
        use_it(&intake.event(0))
    }

    #[test]
    fn binary_has_attributes_as_headers_and_the_data_as_body() {
        let members = r#","subject":"Euro € 😀","n":42,"flag":true,"none":null,"data":{"a": 1}"#;
        with_event(members, |event| {
            let message = binary(event);
            let header = |name: &str| {
                let mut found = message.headers.iter().filter(|(key, _)| key == name);
                found.next().map(|(_, value)| value.as_str())
            };
            assert_eq!(header("ce-specversion"), Some("1.0"));
            assert_eq!(header("ce-id"), Some("a%201"));
            assert_eq!(
                header("ce-subject"),
                Some("Euro%20%E2%82%AC%20%F0%9F%98%80")
            );
            assert_eq!(header("ce-n"), Some("42"));
            assert_eq!(header("ce-flag"), Some("true"));
            assert_eq!(header("ce-none"), None);
            assert_eq!(message.content_type.as_deref(), Some("application/json"));
            assert_eq!(&*message.body, br#"{"a": 1}"#);
        });
    }

    #[test]
    fn binary_resolves_what_json_had_to_dress_up() {
        for (members, content_type, body) in [
            (
                r#","datacontenttype":"text/plain","data":"a\nb""#,
                Some("text/plain"),
                &b"a\nb"[..],
            ),
            (
                r#","datacontenttype":"application/json","data":"a\nb""#,
                Some("application/json"),
                br#""a\nb""#,
            ),
            (
                r#","datacontenttype":"application/x","data_base64":"AP8=""#,
                Some("application/x"),
                &[0, 255],
            ),
            (
                r#","datacontenttype":"application/x","data_base64":"AP9=""#,
                Some("application/x"),
                &[0, 255],
            ),
            ("", None, b""),
        ] {
            with_event(members, |event| {
                let message = binary(event);
                assert_eq!(message.content_type.as_deref(), content_type, "{members}");
                assert_eq!(&*message.body, body, "{members}");
            });
        }
    }

    #[test]
    fn structured_and_batched_bodies_are_the_lines() {
        with_event("", |event| {
            let mut body = Vec::new();
            batch([*event, *event].into_iter(), &mut body);
            let line = structured(event);
            assert_eq!(body, format!("[{line},{line}]").into_bytes());
        });
    }
}
