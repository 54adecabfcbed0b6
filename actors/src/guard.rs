//! The guard around code of components: a panic becomes a value.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::faults::AbortActor;
use crate::panic_hook;

/// Bytes of a panic's message that are kept.
const MESSAGE_BYTES_MAX: usize = 4096;
/// For a payload that is no text.
pub(crate) const NO_MESSAGE: &str = "a panic without a message";

/// A panic in a component's code.
#[derive(Clone, Debug)]
pub struct Panic {
    /// What it said, cut to 4096 bytes.
    pub message: String,
    /// File, line and column, if [`install_panic_hook`](crate::install_panic_hook) was called before.
    pub location: Option<String>,
    /// The stack, if it was asked for. Its symbols are looked up when it is shown, which takes many milliseconds.
    pub backtrace: Option<Arc<Backtrace>>,
}

impl fmt::Display for Panic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<Panic> for String {
    fn from(panic: Panic) -> Self {
        panic.message
    }
}

/// What the guards of a thread want to know, for the hook, which runs before the unwinding.
#[derive(Clone, Copy)]
struct Guards {
    depth: u32,
    want_backtrace: bool,
}

/// What the hook saw of a thread's last guarded panic.
struct Seen {
    location: Option<String>,
    backtrace: Option<Backtrace>,
}

thread_local! {
    // The first one is touched for every event, so it has no destructor and no lazy start.
    static GUARDS: Cell<Guards> = const { Cell::new(Guards { depth: 0, want_backtrace: false }) };
    static SEEN: Cell<Option<Seen>> = const { Cell::new(None) };
}

/// Runs `work`, code of the component called `name` in that role, and returns its panic instead of unwinding.
///
/// Whatever `work` may have left half-changed is to be thrown away then.
pub(crate) fn guard<T>(
    role: &'static str,
    name: &str,
    work: impl FnOnce() -> T,
) -> Result<T, Panic> {
    run(role, name, false, work)
}

/// As [`guard`], with the stack of a panic if it is the last attempt.
pub(crate) fn guard_if_last<T>(
    is_last: bool,
    role: &'static str,
    name: &str,
    work: impl FnOnce() -> T,
) -> Result<T, Panic> {
    run(role, name, is_last, work)
}

fn run<T>(
    role: &'static str,
    name: &str,
    want_backtrace: bool,
    work: impl FnOnce() -> T,
) -> Result<T, Panic> {
    if cfg!(veltrix_unguarded) {
        // A build of the benchmarks only, to measure what the guard costs.
        return Ok(work());
    }
    let before = GUARDS.get();
    GUARDS.set(Guards {
        depth: before.depth + 1,
        want_backtrace,
    });
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDS.set(before);
    result.map_err(|payload| caught(role, name, payload))
}

#[cold]
fn caught(role: &'static str, name: &str, payload: Box<dyn Any + Send>) -> Panic {
    if payload.is::<AbortActor>() {
        // An injected end of the whole actor, which no guard keeps.
        resume_unwind(payload);
    }
    let seen = SEEN.try_with(Cell::take).ok().flatten();
    let (location, backtrace) = seen.map_or((None, None), |seen| (seen.location, seen.backtrace));
    let panic = Panic {
        message: cut(text(&*payload)).to_owned(),
        location,
        backtrace: backtrace.map(Arc::new),
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // A payload that panics when it is dropped may well hold another one.
        std::mem::forget(again);
    }
    panic_hook::log_caught(role, name, &panic);
    panic
}

/// Keeps what a guard will want to know of a panic; false if there is none on this thread.
pub(crate) fn note(panic: &PanicHookInfo<'_>) -> bool {
    let guards = GUARDS.get();
    if guards.depth == 0 {
        return false;
    }
    let seen = Seen {
        location: panic.location().map(ToString::to_string),
        backtrace: guards.want_backtrace.then(Backtrace::force_capture),
    };
    // Fails on a thread that is ending, whose guard then knows the message only.
    SEEN.try_with(|cell| cell.set(Some(seen)))
        .unwrap_or_default();
    true
}

fn text(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        NO_MESSAGE
    }
}

/// The start of a message, as much of it as is kept.
pub(crate) fn cut(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

/// A component's future whose panics are values, when it is polled and when it is dropped.
pub(crate) struct Guarded<F> {
    is_last: bool,
    role: &'static str,
    name: Arc<str>,
    /// There until it has ended.
    future: Option<F>,
}

/// Guards a future of a component.
pub(crate) fn guarded<F: Future + Unpin>(
    role: &'static str,
    name: &Arc<str>,
    future: F,
) -> Guarded<F> {
    guarded_if_last(false, role, name, future)
}

/// As [`guarded`], with the stack of a panic if it is the last attempt.
pub(crate) fn guarded_if_last<F: Future + Unpin>(
    is_last: bool,
    role: &'static str,
    name: &Arc<str>,
    future: F,
) -> Guarded<F> {
    Guarded {
        is_last,
        role,
        name: Arc::clone(name),
        future: Some(future),
    }
}

impl<F: Future + Unpin> Future for Guarded<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let future = this.future.as_mut().expect("nobody polls after the end");
        let poll = || Pin::new(future).poll(context);
        let polled = guard_if_last(this.is_last, this.role, &this.name, poll);
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        this.end();
        Poll::Ready(ended)
    }
}

impl<F> Guarded<F> {
    fn end(&mut self) {
        if let Some(future) = self.future.take() {
            // It is logged, and what it leaves behind is lost either way.
            drop(guard(self.role, &self.name, || drop(future)));
        }
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panic_hook;

    #[test]
    fn a_panic_is_a_value_with_its_place_and_on_demand_its_stack() {
        panic_hook::install_panic_hook();
        let before = panic_hook::panics_total();
        let panic = guard("handler", "x", || panic!("no {}", 7)).expect_err("it panics");
        assert_eq!(
            (panic.to_string(), panic.backtrace.is_none()),
            ("no 7".to_owned(), true)
        );
        assert!(panic.location.expect("known").contains("guard.rs:"));
        let panic = guard_if_last(true, "handler", "x", || std::panic::panic_any(7));
        let panic = panic.expect_err("it panics");
        assert_eq!(panic.message, NO_MESSAGE);
        let stack = panic.backtrace.expect("asked for").to_string();
        assert!(stack.contains("guard_if_last"), "{stack}");
        assert_eq!(guard("handler", "x", || 7).ok(), Some(7));
        assert!(panic_hook::panics_total() >= before + 2);
        let long = guard("handler", "x", || {
            panic!("{}", "\u{e9}".repeat(MESSAGE_BYTES_MAX))
        });
        assert_eq!(
            long.expect_err("it panics").message.len(),
            MESSAGE_BYTES_MAX
        );
    }

    #[test]
    fn an_inner_guard_leaves_the_outer_one_as_it_was() {
        panic_hook::install_panic_hook();
        let outer = guard_if_last(true, "handler", "outer", || {
            let inner = guard("handler", "inner", || panic!("inner")).expect_err("it panics");
            assert!(inner.backtrace.is_none());
            panic!("outer")
        });
        let outer = outer.expect_err("it panics");
        assert_eq!(outer.message, "outer");
        assert!(outer.backtrace.is_some());
        assert_eq!(GUARDS.get().depth, 0);
    }

    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a bomb");
        }
    }

    #[test]
    fn what_panics_when_it_is_dropped_is_caught_too() {
        let panic = guard("handler", "x", || std::panic::panic_any(Bomb));
        assert_eq!(panic.expect_err("it panics").message, NO_MESSAGE);
        let name: Arc<str> = "x".into();
        let bomb = Bomb;
        let pending = std::future::poll_fn(move |_| {
            let _bomb = &bomb;
            Poll::<()>::Pending
        });
        drop(guarded("handler", &name, pending));
    }

    #[actix::test]
    async fn a_future_that_panics_is_a_value_as_well() {
        let name: Arc<str> = "x".into();
        let late = Box::pin(async {
            tokio::task::yield_now().await;
            panic!("late")
        });
        let ended: Result<(), Panic> = guarded("handler", &name, late).await;
        assert_eq!(ended.expect_err("it panics").message, "late");
        assert!(
            guarded("handler", &name, Box::pin(async { 7 }))
                .await
                .is_ok()
        );
    }
}
