//! One request → events handed to the source's actor → the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use veltrix_actors::{Admission, Intake, MemoryBudget, SourceStats, Submitter, TypeCache};

use super::connection::Activity;
use super::problem::Problem;
use super::{Settings, auth, body, webhook};
use crate::cloudevents::decode::{Lines, Mode, mode};

/// What one thread of the server needs.
pub(super) struct Receiver {
    pub(super) settings: Arc<Settings>,
    pub(super) submitter: Submitter,
    pub(super) stats: Arc<SourceStats>,
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) types: RefCell<TypeCache>,
    /// Set by the source when it drains, read by the server's threads.
    pub(super) is_stopping: Arc<AtomicBool>,
}

/// Answers any request.
pub(super) async fn receive(
    request: HttpRequest,
    payload: web::Payload,
    receiver: web::Data<Receiver>,
) -> HttpResponse {
    let activity = request.conn_data::<Rc<Activity>>();
    let _running = activity.map(Activity::begin);
    let settings = &receiver.settings;
    if request.path() != settings.path {
        return Problem::not_found(&settings.path).respond();
    }
    let has_handshake = !settings.allowed_origins.is_empty();
    match *request.method() {
        Method::POST => {}
        Method::OPTIONS if has_handshake => return webhook::handshake(&request, settings),
        _ if has_handshake => {
            return Problem::method_not_allowed(webhook::ALLOWED_METHODS).respond();
        }
        _ => return Problem::method_not_allowed("POST").respond(),
    }
    match receiver.accept(&request, payload).await {
        Ok(()) => accepted(&request),
        Err(problem) => {
            if problem.is_counted_here() {
                receiver.stats.received.add(1);
                receiver.stats.reject(problem.reason, 1);
            }
            tracing::debug!(?problem, "a request was refused");
            problem.respond()
        }
    }
}

fn accepted(request: &HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Accepted();
    if auth::is_in_query(request) {
        response.insert_header((CACHE_CONTROL, "private"));
    }
    response.finish()
}

impl Receiver {
    /// Takes all events of the request, or none.
    async fn accept(&self, request: &HttpRequest, payload: web::Payload) -> Result<(), Problem> {
        if self.is_stopping.load(Ordering::Acquire) {
            return Err(Problem::stopping());
        }
        let token = self.settings.token.as_ref();
        if token.is_some_and(|token| !token.is_shown_by(request)) {
            return Err(Problem::unauthorized());
        }
        if let Some(limit) = &self.settings.rate_limit {
            let refused = |seconds| Problem::rate_limited(seconds, limit.per_minute);
            limit.take().map_err(refused)?;
        }
        if !self.budget.has_room() {
            return Err(Problem::busy());
        }
        let body = body::read(request, payload, &self.settings, &self.budget).await?;
        let intake = self.events(request, &body.bytes)?;
        drop(body);
        let events = intake.len();
        match self.submitter.submit(intake).await {
            Admission::Accepted => {
                self.stats.received.add(events);
                Ok(())
            }
            Admission::Conflicting(conflicts) => {
                self.stats.received.add(events);
                Err(Problem::conflict(conflicts, events))
            }
            Admission::Busy => Err(Problem::busy()),
            Admission::Closing => Err(Problem::stopping()),
            Admission::Full => {
                self.stats.received.add(events);
                Err(Problem::journal_full())
            }
            Admission::Failed => {
                self.stats.received.add(events);
                Err(Problem::journal_failed())
            }
        }
    }

    fn events(&self, request: &HttpRequest, body: &[u8]) -> Result<Intake, Problem> {
        let content_type = match request.headers().get(CONTENT_TYPE) {
            Some(value) => {
                let detail = "the Content-Type is not ASCII text";
                Some(
                    value
                        .to_str()
                        .map_err(|_| Problem::no_cloud_event(detail))?,
                )
            }
            None => None,
        };
        let lines = match mode(content_type) {
            Mode::Structured => Lines::structured(body)?,
            Mode::Batched => Lines::batched(body)?,
            Mode::Binary => binary(request, content_type, body)?,
            Mode::Unsupported => {
                let detail = "of the CloudEvents formats only JSON is supported";
                return Err(Problem::no_cloud_event(detail));
            }
        };
        let max = self.settings.event_bytes_max;
        Ok(lines.parse(max, &mut self.types.borrow_mut())?)
    }
}

fn binary(
    request: &HttpRequest,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Lines, Problem> {
    let mut attributes = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value.as_bytes())))
        .peekable();
    if attributes.peek().is_none() {
        let detail = "no CloudEvent: neither `ce-*` headers nor a Content-Type of application/cloudevents+json or application/cloudevents-batch+json";
        return Err(Problem::no_cloud_event(detail));
    }
    Ok(Lines::binary(attributes, content_type, body)?)
}
