//! What the API answers when it cannot answer: a problem of RFC 9457.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

/// The problem's media type.
const CONTENT_TYPE: &str = "application/problem+json";

/// A problem with its reason, which says what to do.
pub(super) fn problem(status: StatusCode, detail: &str) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
    HttpResponse::build(status)
        .content_type(CONTENT_TYPE)
        .body(body.to_string())
}
