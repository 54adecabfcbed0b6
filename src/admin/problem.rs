//! What the API answers: JSON, or a problem of RFC 9457 when it cannot answer.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use serde_json::json as object;

/// The problem's media type.
const CONTENT_TYPE: &str = "application/problem+json";

/// A problem with its reason, which says what to do.
pub(super) fn problem(status: StatusCode, detail: &str) -> HttpResponse {
    with(status, detail, serde_json::Value::Null)
}

/// A config's problems, one by one.
pub(super) fn with(status: StatusCode, detail: &str, problems: serde_json::Value) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or_default();
    let mut body = object!({ "title": title, "status": status.as_u16(), "detail": detail });
    if !problems.is_null() {
        body["problems"] = problems;
    }
    HttpResponse::build(status)
        .content_type(CONTENT_TYPE)
        .body(body.to_string())
}

/// An answer.
pub(super) fn json(text: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(text)
}
