//! The admin server: liveness, readiness, metrics and the API for whoever operates the process.

mod actions;
mod config;
mod dead_letter_metrics;
mod dead_letters;
mod journal_metrics;
mod metrics;
mod open_metrics;
mod problem;
mod replay;
mod tree;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::app::ReloadDesk;
use crate::audit::AuditLog;
use crate::ledgers::LedgerBook;
pub(crate) use actions::USER_HEADER;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, ContentType, HeaderValue};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource, Route, guard, web};
use problem::problem;
use veltrix_actors::{
    DeadLetterDesk, JournalDesk, MemoryBudget, Registry, ReplayDirectory, TypeTable,
};

/// What the server reads of the running tree.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) ledgers: Arc<LedgerBook>,
    pub(crate) budget: Arc<MemoryBudget>,
    pub(crate) types: Arc<TypeTable>,
    pub(crate) dead_letters: Arc<DeadLetterDesk>,
    /// None if the process has no journal.
    pub(crate) journal: Option<Arc<JournalDesk>>,
    pub(crate) replay_targets: ReplayDirectory,
    pub(crate) reload: Arc<ReloadDesk>,
}

/// Whether the process wants traffic. Shared with the server's thread, which only reads it.
#[derive(Debug, Default)]
pub(crate) struct Health {
    phase: AtomicU8,
}

/// Up: it is ready.
const UP: u8 = 1;
/// Draining: it never gets ready any more.
const DRAINING: u8 = 2;

impl Health {
    /// Everything is up.
    pub(crate) fn up(&self) {
        self.phase.fetch_or(UP, Ordering::AcqRel);
    }

    /// It drains, even if it was never up.
    pub(crate) fn drain(&self) {
        self.phase.fetch_or(DRAINING, Ordering::AcqRel);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) & DRAINING != 0
    }

    fn is_ready(&self) -> bool {
        self.phase.load(Ordering::Acquire) == UP
    }
}

/// Binds `listen` and serves on a thread of its own until the process ends.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn serve(listen: SocketAddr, observed: Observed, health: Arc<Health>) -> io::Result<()> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(observed.clone()))
            .app_data(web::Data::from(health.clone()))
            .service(shown("/livez").route(get().to(live)))
            .service(shown("/readyz").route(get().to(ready)))
            .service(shown("/metrics").route(get().to(metrics)))
            .service(shown("/api/dead-letters").route(get().to(dead_letters::list)))
            .service(done("/api/dead-letters/replay").route(web::post().to(actions::replay)))
            .service(done("/api/dead-letters/purge").route(web::post().to(actions::purge)))
            .service(shown("/api/dead-letters/{sequence}").route(get().to(dead_letters::show)))
            .service(done("/api/replay").route(web::post().to(replay::replay)))
            .service(shown("/api/config").route(get().to(config::show)))
            .service(shown("/api/config/history").route(get().to(config::history)))
            .service(done("/api/reload").route(web::post().to(config::reload)))
            .service(shown("/api/tree").route(get().to(tree::show)))
            .default_service(web::to(unknown))
    })
    .workers(1)
    .disable_signals()
    .bind(listen)?;
    for address in server.addrs() {
        tracing::info!(%address, "admin listening");
    }
    actix_rt::spawn(server.run());
    Ok(())
}

/// What can be looked at.
fn shown(path: &str) -> Resource {
    web::resource(path).default_service(web::to(|| wrong_method("GET, HEAD")))
}

/// What can be done.
fn done(path: &str) -> Resource {
    web::resource(path).default_service(web::to(|| wrong_method("POST")))
}

fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn wrong_method(allowed: &'static str) -> HttpResponse {
    let detail = format!("this takes {allowed} only");
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &detail);
    let allowed = HeaderValue::from_static(allowed);
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    let detail = format!("there is no `{}` here", request.path());
    problem(StatusCode::NOT_FOUND, &detail)
}

async fn live() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .body("live\n")
}

async fn ready(health: web::Data<Health>, observed: web::Data<Observed>) -> HttpResponse {
    if observed.registry.journal.is_sealed() {
        return HttpResponse::ServiceUnavailable()
            .content_type(ContentType::plaintext())
            .body("the journal has failed\n");
    }
    match health.is_ready() {
        true => HttpResponse::Ok()
            .content_type(ContentType::plaintext())
            .body(readiness(&observed.registry)),
        false => HttpResponse::ServiceUnavailable()
            .content_type(ContentType::plaintext())
            .body("starting or draining\n"),
    }
}

/// What is said while traffic is wanted: all is well, or which actors are not. Events for them wait, so it still is.
fn readiness(registry: &Registry) -> String {
    let actors = registry.actors.all();
    let unwell = actors.iter().filter_map(|actor| {
        let state = actor.state();
        state
            .is_trouble()
            .then(|| format!("{} {}", actor.path(), state.name()))
    });
    let is_full = registry.journal.is_full();
    let full = is_full.then(|| "the journal has no room".to_owned());
    let is_full = registry.dead_letter_store.is_full();
    let no_graves = is_full.then(|| "the store of dead letters has no room".to_owned());
    let full = full.into_iter().chain(no_graves);
    let unwell: Vec<String> = full.chain(unwell).collect();
    match unwell.is_empty() {
        true => "ready\n".to_owned(),
        false => format!("degraded: {}\n", unwell.join(", ")),
    }
}

async fn metrics(observed: web::Data<Observed>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(metrics::CONTENT_TYPE)
        .body(metrics::render(&observed))
}
