//! Where a running router is found, and what the next one goes by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::{Message, Recipient};
use tokio::sync::oneshot;

use crate::mailbox::control;
use crate::router::RouterSpec;

/// The place of the router, filled by one actor after the other.
// Locked by whoever reloads and by the router when it starts.
pub struct RouterPlace(Mutex<State>);

struct State {
    spec: RouterSpec,
    router: Option<Recipient<Rewire>>,
}

/// Has the router go by other routes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Rewire {
    pub(crate) spec: RouterSpec,
    pub(crate) then: Once,
    pub(crate) done: oneshot::Sender<()>,
}

/// What is to be done once, by whoever comes first.
#[derive(Clone)]
// Shared by the message and whoever waits for it to be handled, and locked, because either may be the one.
pub(crate) struct Once(Arc<Mutex<Option<Call>>>);

type Call = Box<dyn FnOnce() + Send>;

impl Once {
    pub(crate) fn call(&self) {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(then) = then {
            then();
        }
    }
}

impl RouterPlace {
    /// A place for routers with these routes.
    pub fn new(spec: RouterSpec) -> Arc<Self> {
        let router = None;
        Arc::new(Self(Mutex::new(State { spec, router })))
    }

    /// Has the router go by `spec` from the next batch on, and waits until it does. `then` is called before that batch.
    pub async fn rewire(&self, spec: RouterSpec, then: impl FnOnce() + Send + 'static) {
        let then = Once(Arc::new(Mutex::new(Some(Box::new(then)))));
        let (done, rewired) = oneshot::channel();
        let router = {
            let mut state = self.lock();
            state.spec = spec.clone();
            state.router.clone()
        };
        if let Some(router) = router {
            let then = then.clone();
            control(&router, Rewire { spec, then, done });
        }
        if rewired.await.is_err() {
            // The next router goes by it from its start; what the last one had gathered is sent.
            then.call();
        }
    }

    /// What the router goes by.
    pub fn spec(&self) -> RouterSpec {
        self.lock().spec.clone()
    }

    pub(crate) fn fill(&self, router: Recipient<Rewire>) {
        self.lock().router = Some(router);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
