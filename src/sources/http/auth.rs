//! Who may post events: a bearer token (RFC 6750), in the header or the query as the webhook specification asks for.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::cloudevents::percent;
use crate::config::Secret;

/// What a sender must show.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    /// The token of `Authorization: Bearer` (or of the query parameter `access_token`).
    pub(super) bearer: Token,
}

/// The token, which is never printed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Token(Secret);

impl Token {
    pub(super) fn is_empty(&self) -> bool {
        self.0.expose().is_empty()
    }

    /// Whether the request shows the token; takes as long for a wrong one as for the right one.
    pub(super) fn is_shown_by(&self, request: &HttpRequest) -> bool {
        let matches = |shown: &[u8]| bool::from(shown.ct_eq(self.0.expose().as_bytes()));
        match header_token(request) {
            Some(shown) => matches(shown),
            None => query_token(request.query_string())
                .and_then(|shown| percent::decode(shown.as_bytes()))
                .is_some_and(|shown| matches(shown.as_bytes())),
        }
    }
}

/// Whether the token came in the query, after which answers must not be cached by others.
pub(super) fn is_in_query(request: &HttpRequest) -> bool {
    query_token(request.query_string()).is_some()
}

fn header_token(request: &HttpRequest) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

fn query_token(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("access_token="))
}
