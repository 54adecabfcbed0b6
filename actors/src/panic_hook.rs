//! What a panic leaves in the log: structured lines within a rate, never a bare dump on standard error.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use crate::guard::{self, Panic};
use crate::log_limit::LogLimit;

/// Caught panics logged in a second; an own limit, so that a flood of them hides none of the others.
const CAUGHT_PER_SECOND_MAX: u32 = 10;
/// Panics outside of any guard logged in a second.
const UNGUARDED_PER_SECOND_MAX: u32 = 10;

static CAUGHT: Mutex<LogLimit> = Mutex::new(LogLimit::new(CAUGHT_PER_SECOND_MAX));
static UNGUARDED: Mutex<LogLimit> = Mutex::new(LogLimit::new(UNGUARDED_PER_SECOND_MAX));
/// Global like the hook, which has no other place to count in.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Replaces the panic hook of this process: a panic in a component's code is logged once it is caught, any other one at
/// once as an error.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(hook));
}

/// All panics since the hook was installed, caught or not.
pub fn panics_total() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Whatever panics in here aborts the process, so it waits for no lock and formats nothing but text.
fn hook(panic: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Ordering::Relaxed);
    if guard::note(panic) {
        return;
    }
    if let Some(suppressed) = admit(&UNGUARDED) {
        tell_suppressed(suppressed);
        let message = panic.payload_as_str().map(guard::cut);
        let location = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            panic = message.unwrap_or(guard::NO_MESSAGE),
            location,
            thread = thread.name(),
            "a panic outside of any guard"
        );
    }
}

/// Logs a panic in a component's code. Not in the hook, since the subscriber runs outside of the panic here.
pub(crate) fn log_caught(role: &str, name: &str, panic: &Panic) {
    if let Some(suppressed) = admit(&CAUGHT) {
        tell_suppressed(suppressed);
        tracing::warn!(
            component = format!("{role}.{name}"),
            panic = panic.message,
            location = panic.location,
            thread = std::thread::current().name(),
            "a panic was caught"
        );
    }
}

/// As [`LogLimit::admit`]; while another thread asks, the line is admitted.
fn admit(limit: &Mutex<LogLimit>) -> Option<u64> {
    match limit.try_lock() {
        Ok(mut limit) => limit.admit(Instant::now()),
        Err(TryLockError::Poisoned(limit)) => limit.into_inner().admit(Instant::now()),
        Err(TryLockError::WouldBlock) => Some(0),
    }
}

fn tell_suppressed(suppressed: u64) {
    if suppressed > 0 {
        tracing::warn!(suppressed, "more panics were not logged");
    }
}
