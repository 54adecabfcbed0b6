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
use actix_web::http::header::ContentType;
use actix_web::{App, HttpResponse, HttpServer, web};
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
    pub(crate) journal: Arc<JournalDesk>,
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
            .route("/livez", web::get().to(live))
            .route("/readyz", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
            .route("/api/dead-letters", web::get().to(dead_letters::list))
            .route("/api/dead-letters/replay", web::post().to(actions::replay))
            .route("/api/dead-letters/purge", web::post().to(actions::purge))
            .route(
                "/api/dead-letters/{sequence}",
                web::get().to(dead_letters::show),
            )
            .route("/api/replay", web::post().to(replay::replay))
            .route("/api/config", web::get().to(config::show))
            .route("/api/config/history", web::get().to(config::history))
            .route("/api/reload", web::post().to(config::reload))
            .route("/api/tree", web::get().to(tree::show))
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
