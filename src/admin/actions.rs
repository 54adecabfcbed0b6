//! `POST /api/dead-letters/replay` and `.../purge`: what changes something. From this machine only, and never unaudited.

use std::net::IpAddr;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{StatusCode, Uri};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use veltrix_actors::{DeadLetterFilter, DeskError};

use super::Observed;
use super::dead_letters::{refused, status_of};
use super::problem::{self, problem};
use crate::audit::Who;
use crate::dead_letters::{FILTERS, filter};

/// The header by which the command line says who runs it.
pub(crate) const USER_HEADER: &str = "x-veltrix-user";
/// Events replayed in a second, as a limit.
const RATE_MAX: u32 = 1_000_000;

/// A request's body, or why there is none.
pub(super) type Body = Result<web::Bytes, actix_web::Error>;

/// Why an order is not carried out.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl Refusal {
    pub(super) fn of(error: &DeskError) -> Self {
        Self(status_of(error), error.to_string())
    }

    pub(super) fn answer(&self) -> HttpResponse {
        problem(self.0, &self.1)
    }
}

/// What is to be done to which dead letters.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Order {
    filter: Map<String, Value>,
    /// Said to mean all of them, in place of a filter.
    all: bool,
    dry_run: bool,
    rate: Option<u32>,
}

/// `POST /api/dead-letters/purge`
pub(super) async fn purge(
    request: HttpRequest,
    observed: web::Data<Observed>,
    body: Body,
) -> HttpResponse {
    let (order, wanted) = match read(&request, &body) {
        Ok(read) => read,
        Err(refusal) => return refusal.answer(),
    };
    if order.rate.is_some() {
        return problem(StatusCode::BAD_REQUEST, "a purge has no `rate`");
    }
    let (wanted, count) = match choose(&request, &observed, &order, wanted, "purge").await {
        Ok(chosen) => chosen,
        Err(refusal) => return refusal.answer(),
    };
    if order.dry_run {
        return problem::json(json!({ "dry_run": true, "count": count }).to_string());
    }
    match observed.dead_letters.purge(wanted).await {
        Ok(count) => problem::json(json!({ "dry_run": false, "count": count }).to_string()),
        Err(error) => refused(&error),
    }
}

/// `POST /api/dead-letters/replay`
pub(super) async fn replay(
    request: HttpRequest,
    observed: web::Data<Observed>,
    body: Body,
) -> HttpResponse {
    let (order, wanted) = match read(&request, &body) {
        Ok(read) => read,
        Err(refusal) => return refusal.answer(),
    };
    if let Err(refusal) = check_rate(order.rate) {
        return refusal.answer();
    }
    let left = observed.registry.dead_letter_store.waiting_for_replay();
    if left > 0 && !order.dry_run {
        // Before the audit log says that there is one.
        return refused(&DeskError::Busy);
    }
    let (wanted, count) = match choose(&request, &observed, &order, wanted, "replay").await {
        Ok(chosen) => chosen,
        Err(refusal) => return refusal.answer(),
    };
    if order.dry_run {
        return problem::json(json!({ "dry_run": true, "count": count }).to_string());
    }
    match observed.dead_letters.replay(wanted, order.rate).await {
        Ok(begun) => {
            let (count, homeless) = (begun.count, begun.homeless);
            let answer = json!({ "dry_run": false, "count": count, "homeless": homeless });
            problem::json(answer.to_string())
        }
        Err(error) => refused(&error),
    }
}

/// The order, if whoever asks may give one.
fn read(request: &HttpRequest, body: &Body) -> Result<(Order, DeadLetterFilter), Refusal> {
    check(request)?;
    let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, why);
    let order: Order = parse(body)?;
    let mut wanted = DeadLetterFilter::default();
    for (name, value) in &order.filter {
        let text = value.as_str();
        let text = text.ok_or_else(|| bad(format!("`filter.{name}` must be a text")))?;
        if !filter(&mut wanted, name, text).map_err(bad)? {
            let known = FILTERS.join(", ");
            return Err(bad(format!("there is no filter `{name}`; known: {known}")));
        }
    }
    if order.filter.is_empty() && !order.all {
        return Err(bad(
            "give a `filter`, or say `\"all\": true` to mean all dead letters".to_owned(),
        ));
    }
    if !order.filter.is_empty() && order.all {
        let why =
            "`\"all\": true` means all dead letters, and a `filter` only some: give one of the two";
        return Err(bad(why.to_owned()));
    }
    Ok((order, wanted))
}

/// The order in a request's body; none of it is said by an empty one.
pub(super) fn parse<T: DeserializeOwned + Default>(body: &Body) -> Result<T, Refusal> {
    let body = body.as_ref().map_err(|error| {
        let status = error.as_response_error().status_code();
        Refusal(status, format!("the body: {error}"))
    })?;
    let bad = |why: String| Refusal(StatusCode::BAD_REQUEST, format!("the body: {why}"));
    if body.is_empty() {
        return Ok(T::default());
    }
    // A list would be read as the fields in their order.
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body).map_err(|error| bad(error.to_string())),
        _ => Err(bad("it must be a JSON object, such as {}".to_owned())),
    }
}

pub(super) fn check_rate(rate: Option<u32>) -> Result<(), Refusal> {
    if rate.is_some_and(|rate| rate == 0 || rate > RATE_MAX) {
        let why = format!("`rate` must be from 1 to {RATE_MAX} in a second");
        return Err(Refusal(StatusCode::BAD_REQUEST, why));
    }
    Ok(())
}

/// Only this machine may change anything, and no page in a browser on it: those cannot say `application/json` unasked.
pub(super) fn check(request: &HttpRequest) -> Result<(), Refusal> {
    let peer = request.peer_addr();
    if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        let why = "this is done from the machine itself only: ask its loopback address";
        return Err(Refusal(StatusCode::FORBIDDEN, why.to_owned()));
    }
    let media_type = request.headers().get("content-type");
    if media_type.is_none_or(|media_type| media_type.as_bytes() != b"application/json") {
        let why = "send `content-type: application/json`";
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    // A page from elsewhere whose name was made to point here (DNS rebinding) is not stopped by its browser.
    let origin = request.headers().get(header::ORIGIN);
    if origin.is_some_and(|origin| !is_local(origin)) {
        let why = "a page from elsewhere may not do this: its origin is no loopback address";
        return Err(Refusal(StatusCode::FORBIDDEN, why.to_owned()));
    }
    Ok(())
}

fn is_local(origin: &HeaderValue) -> bool {
    let origin = origin
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok());
    let host = origin.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// What the order is about, pinned to what there is now; it is in the audit log from here on, unless nothing is to be done.
async fn choose(
    request: &HttpRequest,
    observed: &web::Data<Observed>,
    order: &Order,
    mut wanted: DeadLetterFilter,
    action: &str,
) -> Result<(DeadLetterFilter, usize), Refusal> {
    let counted = observed.dead_letters.count(wanted.clone()).await;
    let selected = counted.map_err(|error| Refusal::of(&error))?;
    wanted.last = Some(selected.last);
    if order.dry_run {
        return Ok((wanted, selected.count));
    }
    let mut filter = order.filter.clone();
    if order.all {
        filter.insert("all".to_owned(), true.into());
    }
    let filter = Value::Object(filter);
    let action = format!("dead-letters {action}");
    audit(request, observed, action, filter, selected.count).await?;
    Ok((wanted, selected.count))
}

/// Has the audit log know of an action before it is done.
pub(super) async fn audit(
    request: &HttpRequest,
    observed: &web::Data<Observed>,
    action: String,
    filter: Value,
    count: usize,
) -> Result<(), Refusal> {
    let user = request.headers().get(USER_HEADER);
    let user = user.and_then(|user| user.to_str().ok());
    let who = Who {
        user: user.map(str::to_owned),
        peer: request.peer_addr(),
    };
    let audit = observed.audit.clone();
    let written = web::block(move || audit.write(&who, &action, &filter, count)).await;
    let error = match written {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(error, "the audit log cannot be written");
    let why = format!("nothing was done: the audit log cannot be written: {error}");
    Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, why))
}
