//! Runs one source under its actor against a router that hands every line to the test.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use actix::prelude::{Actor, Addr, Context, Handler};
use futures::future::LocalBoxFuture;
use tokio::sync::{mpsc, oneshot};
use veltrix_actors::mailbox::{Custody, Deliver, Inlet};
use veltrix_actors::{
    CursorStore, Durability, Lifeline, MemoryBudget, Registry, Source, SourceActor, SourceFactory,
    SourcePlace, SourcePort, SourceSpec, SourceStats, StartError, Stop, TypeTable, Upstream,
};

/// A running source.
pub(super) struct Harness {
    /// The events' lines as they come out.
    pub(super) lines: mpsc::Receiver<String>,
    /// What the source returned.
    pub(super) ended: oneshot::Receiver<Result<(), StartError>>,
    pub(super) stats: Arc<SourceStats>,
    router: Addr<Router>,
    actor: Addr<SourceActor>,
    is_held: Rc<Cell<bool>>,
}

impl Harness {
    /// Runs the factory's source.
    pub(super) fn start(factory: impl SourceFactory + 'static) -> Self {
        Self::run(move |port| match factory.build() {
            Ok(source) => source.run(port),
            Err(error) => Box::pin(async { Err(error) }),
        })
    }

    /// Runs the factory's source with `durability: upstream`.
    pub(super) fn start_upstream(
        factory: impl SourceFactory + 'static,
        store: Arc<dyn CursorStore>,
    ) -> Self {
        let run = move |port| match factory.build() {
            Ok(source) => source.run(port),
            Err(error) => Box::pin(async { Err(error) }) as LocalBoxFuture<'static, _>,
        };
        Self::run_with(run, Durability::Upstream(Upstream::new(store)))
    }

    /// Runs what `run` makes of its port.
    pub(super) fn run(
        run: impl FnOnce(SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> + Send + 'static,
    ) -> Self {
        Self::run_with(run, Durability::None)
    }

    fn run_with(
        run: impl FnOnce(SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> + Send + 'static,
        durability: Durability,
    ) -> Self {
        let (sender, lines) = mpsc::channel(1 << 20);
        let (returned, ended) = oneshot::channel();
        let is_held = Rc::new(Cell::new(false));
        let router = Router {
            lines: sender,
            is_held: is_held.clone(),
            held: Vec::new(),
        };
        let router = router.start();
        let inlet = Inlet::new();
        inlet.open(router.clone().recipient());
        let registry = Arc::new(Registry::default());
        let spec = SourceSpec {
            factory: Arc::new(Once(Mutex::new(Some(Box::new(Observed { run, returned }))))),
            place: SourcePlace {
                name: "test".into(),
                next: inlet,
                durability,
                types: Arc::new(TypeTable::default()),
                budget: MemoryBudget::new(64 << 20),
                registry: registry.clone(),
            },
        };
        let actor = SourceActor::create(|ctx| SourceActor::new(spec, Lifeline::root().0, ctx));
        Self {
            lines,
            ended,
            stats: registry.source("test"),
            router,
            actor,
            is_held,
        }
    }

    /// Tells the source to drain.
    pub(super) async fn stop(&self) {
        self.actor.send(Stop::Drain).await.expect("a living source");
    }

    /// Has the router keep its credits, and give them back.
    pub(super) async fn hold(&self, hold: bool) {
        self.is_held.set(hold);
        if !hold {
            self.let_go().await;
        }
    }

    /// Has the router give back the credits that it keeps, and keep further ones.
    pub(super) async fn let_go(&self) {
        self.router.send(Release).await.expect("a living router");
    }

    /// The next `count` lines.
    pub(super) async fn take(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.lines.recv().await.expect("a living router"));
        }
        lines
    }

    /// Waits for the source's end, and returns the lines that nobody took yet.
    pub(super) async fn finish(mut self) -> (Result<(), StartError>, Vec<String>) {
        let result = (&mut self.ended).await.expect("a source that returns");
        self.stats.in_flight.drained().await;
        let mut lines = Vec::new();
        while self.stats.accepted.get() != self.stats.finished.get() || self.actor.connected() {
            tokio::task::yield_now().await;
        }
        while let Ok(line) = self.lines.try_recv() {
            lines.push(line);
        }
        (result, lines)
    }
}

/// An event's line with the given id.
pub(super) fn event_line(id: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#)
}

/// The ids of lines made by [`event_line`].
pub(super) fn ids(lines: &[String]) -> Vec<String> {
    let id = |line: &String| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["id"].as_str().expect("an id").to_owned()
    };
    lines.iter().map(id).collect()
}

struct Observed<F> {
    run: F,
    returned: oneshot::Sender<Result<(), StartError>>,
}

impl<F> Source for Observed<F>
where
    F: FnOnce(SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> + 'static,
{
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        let Observed { run, returned } = *self;
        let running = run(port);
        Box::pin(async move {
            let result = running.await;
            returned.send(result.clone()).expect("a waiting test");
            result
        })
    }
}

struct Once(Mutex<Option<Box<dyn SendSource>>>);

trait SendSource: Source + Send {}
impl<T: Source + Send> SendSource for T {}

impl SourceFactory for Once {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        let source = self.0.lock().expect("no panic").take();
        Ok(source.expect("a source that starts once"))
    }
}

struct Router {
    lines: mpsc::Sender<String>,
    is_held: Rc<Cell<bool>>,
    held: Vec<Custody>,
}

impl Actor for Router {
    type Context = Context<Self>;
}

impl Handler<Deliver> for Router {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, _: &mut Context<Self>) {
        let batch = deliver.batch();
        for event in batch.iter() {
            if self.lines.try_send(event.line().to_owned()).is_err() {
                tracing::debug!("the test has seen enough");
            }
        }
        batch.complete();
        let custody = deliver.settle();
        if self.is_held.get() {
            self.held.extend(custody);
        }
    }
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Release;

impl Handler<Release> for Router {
    type Result = ();

    fn handle(&mut self, _: Release, _: &mut Context<Self>) {
        self.held.clear();
    }
}
