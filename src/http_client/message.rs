//! One request's body and the headers that describe it.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use veltrix_actors::Event;

use crate::cloudevents::{encode, media_type};

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(super) headers: HeaderMap,
    pub(super) body: bytes::Bytes,
}

impl Message {
    /// One event in structured mode.
    pub(crate) fn structured(event: &Event<'_>) -> Self {
        let body = encode::structured(event).as_bytes().to_vec();
        Self::of_type(media_type::STRUCTURED, body)
    }

    /// A document of JSON, with headers beside its type.
    pub(crate) fn json(body: String, headers: HeaderMap) -> Self {
        let mut message = Self::of_type("application/json", body.into_bytes());
        message.headers.extend(headers);
        message
    }

    /// Events in batched mode.
    pub(crate) fn batch<'a>(events: impl Iterator<Item = Event<'a>>) -> Self {
        let mut body = Vec::new();
        encode::batch(events, &mut body);
        Self::of_type(media_type::BATCH, body)
    }

    /// One event in binary mode.
    ///
    /// # Errors
    /// An attribute that does not fit a header.
    pub(crate) fn binary(event: &Event<'_>) -> Result<Self, String> {
        let message = encode::binary(event);
        let mut headers = HeaderMap::with_capacity(message.headers.len() + 1);
        for (name, value) in &message.headers {
            let wrong = || format!("the attribute in `{name}` does not fit a header");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            headers.insert(name, value);
        }
        if let Some(content_type) = &message.content_type {
            let value = HeaderValue::from_str(content_type)
                .map_err(|_| "`datacontenttype` does not fit a header".to_owned())?;
            headers.insert(CONTENT_TYPE, value);
        }
        let body = message.body.into_owned().into();
        Ok(Self { headers, body })
    }

    fn of_type(content_type: &'static str, body: Vec<u8>) -> Self {
        let value = HeaderValue::from_static(content_type);
        Self {
            headers: HeaderMap::from_iter([(CONTENT_TYPE, value)]),
            body: body.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::Trial;

    #[test]
    fn each_mode_has_its_headers_and_body() {
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;
        let batch = Trial::new("s", "h").batch(&[line, line]).unwrap();
        let structured = Message::structured(&batch.event(0));
        assert_eq!(structured.body, line);
        assert_eq!(
            structured.headers[CONTENT_TYPE],
            "application/cloudevents+json; charset=UTF-8"
        );
        let batched = Message::batch(batch.iter());
        assert_eq!(batched.body, format!("[{line},{line}]"));
        let binary = Message::binary(&batch.event(0)).unwrap();
        assert_eq!(binary.body, r#"{"a":1}"#);
        assert_eq!(binary.headers["ce-type"], "t");
        assert_eq!(binary.headers[CONTENT_TYPE], "application/json");
    }
}
