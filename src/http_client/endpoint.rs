//! Where to send: a checked URL, and headers whose values are secrets.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Mask, Secret};

/// Headers sent with every request, by name. Values are secrets: they are never printed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct HeaderOptions(BTreeMap<String, Secret>);

/// Headers that the message itself or the connection decides about.
const OURS: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "transfer-encoding",
];

/// A receiver: where it is and what it wants to see in each request.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// What a receiver may repeat of what it is told.
    pub(crate) mask: Mask,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown())
    }
}

impl Endpoint {
    /// Checks the options `url` and `headers`.
    ///
    /// # Errors
    /// Every problem with its key; header values and the URL's query are not shown.
    pub(crate) fn prepare(
        url: &str,
        headers: &HeaderOptions,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let url = parse_url(url);
        if let Err(message) = &url {
            problems.push(("url".to_owned(), message.clone()));
        }
        let mut map = HeaderMap::new();
        for (name, value) in &headers.0 {
            match header(name, value.expose()) {
                Ok((name, value)) => {
                    map.insert(name, value);
                }
                Err(message) => problems.push((format!("headers.{name}"), message)),
            }
        }
        match url {
            Ok(url) if problems.is_empty() => {
                let query: Vec<_> = url.query_pairs().map(|(_, value)| value).collect();
                let values = headers.0.values().map(Secret::expose);
                let mask = Mask::of(values.chain(query.iter().map(AsRef::as_ref)));
                Ok(Self {
                    url,
                    headers: map,
                    mask,
                })
            }
            _ => Err(problems),
        }
    }

    /// The URL without its query, which may hold a secret.
    pub(crate) fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.into()
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces; write `%20` for one".to_owned());
    }
    if !text.contains("://") {
        return Err("a URL begins with its scheme: `http://host:port/path`".to_owned());
    }
    let url = Url::parse(text)
        .map_err(|error| format!("this is not a URL ({error}); write `http://host:port/path`"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the scheme `{}` is not known; use `http` or `https`",
            url.scheme()
        ));
    }
    // a parser for browsers takes `http:/host` and `http:host` too
    let after = text.get(url.scheme().len()..).unwrap_or_default();
    if !after.starts_with("://") || after.starts_with(":///") {
        return Err(format!(
            "there must be a host: `{}://host:port/path`",
            url.scheme()
        ));
    }
    if url.port() == Some(0) {
        return Err("nobody listens on port 0".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL must not hold a password; put it into `headers`".to_owned());
    }
    if url.fragment().is_some() {
        return Err("a URL to send to has no `#fragment`".to_owned());
    }
    Ok(url)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{name}` is not a header name"))?;
    if OURS.contains(&name.as_str()) || name.as_str().starts_with("ce-") {
        return Err(format!("`{name}` is set by veltrix itself"));
    }
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| "the value has characters that cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str, headers: &str) -> Vec<(String, String)> {
        let headers = serde_json::from_str(headers).unwrap();
        Endpoint::prepare(url, &headers).unwrap_err()
    }

    #[test]
    fn names_every_problem_and_shows_no_secret() {
        let headers =
            r#"{"authorization":"Bearer\n s3cret","ce-id":"1","Content-Type":"a/b","a b":"c"}"#;
        let problems = problems("ftp://h/", headers);
        let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "url",
                "headers.Content-Type",
                "headers.a b",
                "headers.authorization",
                "headers.ce-id"
            ]
        );
        assert!(!format!("{problems:?}").contains("s3cret"));
        assert!(problems[0].1.contains("use `http` or `https`"));
    }

    #[test]
    fn a_password_belongs_into_the_headers() {
        assert!(problems("http://u:p@h/", "{}")[0].1.contains("`headers`"));
    }

    #[test]
    fn what_is_no_url_is_told_what_is_missing() {
        for url in ["h:80", "/x", "http:h"] {
            let problem = &problems(url, "{}")[0].1;
            assert!(problem.contains("begins with its scheme"), "{problem}");
        }
        assert!(problems("ftp://h/", "{}")[0].1.contains("not known"));
        assert!(problems("http://h:x/", "{}")[0].1.contains("not a URL"));
    }

    #[test]
    fn debug_output_has_neither_values_nor_queries() {
        let headers: HeaderOptions = serde_json::from_str(r#"{"x-key":"s3cret"}"#).unwrap();
        let endpoint = Endpoint::prepare("https://h/p?token=s3cret", &headers).unwrap();
        let shown = format!("{headers:?} {endpoint:?} {:?}", endpoint.headers);
        assert!(!shown.contains("s3cret"), "{shown}");
        assert_eq!(endpoint.shown(), "https://h/p");
    }
}
