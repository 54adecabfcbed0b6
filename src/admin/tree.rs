//! `GET /api/tree`: the supervision tree as it is, with what the registry knows of each actor.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use veltrix_actors::{ActorStatus, LastFailure, Registry};

use super::Observed;

/// Answers with the tree.
pub(super) async fn show(observed: web::Data<Observed>) -> HttpResponse {
    HttpResponse::Ok().json(render(&observed.registry))
}

fn render(registry: &Registry) -> Value {
    let statuses: Vec<Status> = registry.actors.all().iter().map(Status::of).collect();
    json!({
        "in_flight": registry.in_flight.get(),
        "restarts": registry.restarts.get(),
        "panics": veltrix_actors::panics_total(),
        "actors": below(None, &statuses, registry, &Counts::of(registry)),
    })
}

/// One actor of the answer.
#[derive(Serialize)]
struct Node {
    name: String,
    path: String,
    state: &'static str,
    /// How often it was started.
    generation: u64,
    /// How often it was started again after a failure of its own.
    restarts: u64,
    last_failure: Option<Failure>,
    /// What waits at its inlet, or in its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<Backlog>,
    /// A source's, handler's or sink's, over all its actors.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Self>,
}

#[derive(Serialize)]
struct Failure {
    reason: String,
    at: String,
}

#[derive(Serialize)]
struct Backlog {
    /// Each holds a credit of its sender.
    batches: usize,
    events: usize,
    /// Since the oldest of the batches was sent.
    oldest_seconds: Option<f64>,
}

/// A status, and where it is in the tree.
struct Status {
    status: std::sync::Arc<ActorStatus>,
    parent: Option<String>,
    name: String,
}

impl Status {
    fn of(status: &std::sync::Arc<ActorStatus>) -> Self {
        let path = status.path();
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (Some(parent.to_owned()), name),
            None => (None, &**path),
        };
        Self {
            parent,
            name: name.to_owned(),
            status: status.clone(),
        }
    }
}

/// The actors right below `parent`, each with those below it.
fn below(
    parent: Option<&str>,
    statuses: &[Status],
    registry: &Registry,
    counts: &Counts,
) -> Vec<Node> {
    let children = statuses
        .iter()
        .filter(|child| child.parent.as_deref() == parent);
    let node = |child: &Status| {
        let status = &child.status;
        let path = status.path();
        let failure = |LastFailure { reason, at }| Failure {
            reason,
            at: humantime::format_rfc3339_millis(at).to_string(),
        };
        Node {
            name: child.name.clone(),
            path: path.to_string(),
            state: status.state().name(),
            generation: status.generation(),
            restarts: status.restarts.get(),
            last_failure: status.last_failure().map(failure),
            backlog: status.backlog().map(|backlog| Backlog {
                batches: backlog.batches,
                events: backlog.events + in_log(parent, &child.name, registry),
                oldest_seconds: backlog.oldest.map(|oldest| oldest.as_secs_f64()),
            }),
            counts: parent.and_then(|parent| counts.find(parent, &child.name)),
            children: below(Some(path), statuses, registry, counts),
        }
    };
    children.map(node).collect()
}

/// The events that an overflow log keeps for its sink; no other actor has any beyond its inlet.
fn in_log(parent: Option<&str>, name: &str, registry: &Registry) -> usize {
    match parent {
        Some("overflow") => usize::try_from(registry.sink(name).overflow.get()).unwrap_or(0),
        _ => 0,
    }
}

/// What the sources, handlers and sinks have counted, by the supervisor that they are below and their name.
struct Counts(Vec<(&'static str, String, Value)>);

impl Counts {
    fn of(registry: &Registry) -> Self {
        let mut counts = Vec::new();
        for (name, stats) in registry.sources() {
            let count = json!({
                "received": stats.received.get(),
                "accepted": stats.accepted.get(),
                "finished": stats.finished.get(),
                "in_flight": stats.in_flight.get(),
                "lost": stats.lost.get(),
            });
            counts.push(("sources", name, count));
        }
        for (name, stats) in registry.handlers() {
            let count = json!({
                "received": stats.received.get(),
                "matched": stats.matched.get(),
                "emitted": stats.emitted.get(),
                "errors": stats.errors.get(),
                "panics": stats.panics.get(),
                "hangs": stats.hangs.get(),
                "pauses": stats.pauses.get(),
                "retries": stats.retries.get(),
                "dead_lettered": stats.dead_lettered.get(),
            });
            counts.push(("handlers", name, count));
        }
        for (name, stats) in registry.sinks() {
            let count = json!({
                "offered": stats.offered.get(),
                "delivered": stats.delivered.get(),
                "dead_lettered": stats.dead_lettered.get(),
                "waiting": stats.waiting.get(),
                "in_doubt": stats.in_doubt.get(),
                "errors": stats.errors.get(),
                "hangs": stats.hangs.get(),
                "retries": stats.retries.get(),
            });
            counts.push(("sinks", name, count));
        }
        Self(counts)
    }

    fn find(&self, parent: &str, name: &str) -> Option<Value> {
        let mut counts = self.0.iter();
        let found = counts.find(|(role, owner, _)| *role == parent && owner == name)?;
        Some(found.2.clone())
    }
}
