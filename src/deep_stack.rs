//! A stack for what recurses deeply, on a thread of its own: started once for many calls where one is around them.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The stack: CEL's parser takes 10 KiB a level in a debug build.
const DEEP_STACK_BYTES: usize = 16 * 1024 * 1024;

thread_local! {
    /// Whether this thread has such a stack.
    static IS_DEEP: Cell<bool> = const { Cell::new(false) };
}

/// What a panic was raised with.
pub(crate) type Panic = Box<dyn Any + Send>;

/// Runs `work` on a deep stack: in place if the caller has one already, which costs nothing, else on a thread for it.
///
/// # Errors
/// There is no thread to be had.
pub(crate) fn run<R: Send>(work: impl FnOnce() -> R + Send) -> io::Result<Result<R, Panic>> {
    if IS_DEEP.get() {
        // as behind the end of a thread: whoever called gives up what `work` was at
        return Ok(catch_unwind(AssertUnwindSafe(work)));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(DEEP_STACK_BYTES);
        let running = thread.spawn_scoped(scope, || {
            IS_DEEP.set(true);
            work()
        })?;
        Ok(running.join())
    })
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use super::*;

    #[test]
    fn many_calls_within_one_share_its_thread_and_survive_each_others_panics() {
        let here = current().id();
        let threads = run(|| {
            let outer = current().id();
            let panicked = run(|| assert!(outer != current().id(), "on purpose"));
            assert!(panicked.unwrap().is_err(), "it runs in place");
            [outer, run(|| current().id()).unwrap().unwrap()]
        });
        let [outer, inner] = threads.unwrap().unwrap();
        assert_ne!(here, outer);
        assert_eq!(outer, inner);
        assert_ne!(run(|| current().id()).unwrap().unwrap(), here);
    }
}
