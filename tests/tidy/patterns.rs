//! The rules that are a pattern: where it is refused, what to write instead, and why.

/// What of a line a pattern is looked for in.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    Code,
    /// Code, strings and comments.
    Anywhere,
}

/// Where a pattern is refused.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Everywhere,
    OutsideTests,
    InTests,
    /// Outside the files whose path has one of these words, and outside tests.
    Outside(&'static [&'static str]),
}

pub(crate) struct Rule {
    pub(crate) pattern: &'static str,
    pub(crate) instead: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) scope: Scope,
    pub(crate) place: Place,
}

const fn rule(
    pattern: &'static str,
    scope: Scope,
    place: Place,
    instead: &'static str,
    reason: &'static str,
) -> Rule {
    Rule {
        pattern,
        instead,
        reason,
        scope,
        place,
    }
}

const SENDERS: Place = Place::Outside(&["mailbox", "supervision"]);
const INVARIANT: &str = "an `expect` that states the invariant, or an error";
const MAILBOX: &str = "send through `mailbox`";
const UNBOUNDED: &str = "actix mailboxes bound nothing; only credits do";
const SUPERVISION: &str = "our own supervision";
const LOST: &str = "it loses what was queued when an actor panics";
const SIGNAL: &str = "virtual time, or wait for a signal";
const FLAKY: &str = "a test that sleeps is slow or flaky";
pub(crate) const HANDLED: &str = "handle or log the error";
pub(crate) const SWALLOWED: &str = "a swallowed error is found by nobody";
const FINISHED: &str = "finish it, or leave it out";
const PROMISE: &str = "unfinished work is not merged";
const RELATIVE: &str = "a path relative to the project, or an argument";
const MACHINE: &str = "the project runs on any machine";

pub(crate) const RULES: &[Rule] = &[
    rule(
        ".unwrap()",
        Scope::Code,
        Place::OutsideTests,
        INVARIANT,
        "a panic says why",
    ),
    rule(
        ".expect(\"\")",
        Scope::Code,
        Place::OutsideTests,
        INVARIANT,
        "a panic says why",
    ),
    rule("do_send(", Scope::Code, SENDERS, MAILBOX, UNBOUNDED),
    rule("try_send(", Scope::Code, SENDERS, MAILBOX, UNBOUNDED),
    rule("actix::Supervisor", Scope::Code, SENDERS, SUPERVISION, LOST),
    rule("SyncArbiter", Scope::Code, SENDERS, SUPERVISION, LOST),
    rule(
        "unbounded(",
        Scope::Code,
        SENDERS,
        "a bounded channel",
        "every queue has a limit",
    ),
    rule(
        "unbounded_channel",
        Scope::Code,
        SENDERS,
        "a bounded channel",
        "every queue has a limit",
    ),
    rule(
        "mpsc::channel()",
        Scope::Code,
        SENDERS,
        "`sync_channel`",
        "every queue has a limit",
    ),
    rule(
        "#[ignore",
        Scope::Code,
        Place::InTests,
        SIGNAL,
        "a test that is not run shows nothing",
    ),
    rule("sleep(", Scope::Code, Place::InTests, SIGNAL, FLAKY),
    rule(
        "let _ =",
        Scope::Code,
        Place::Everywhere,
        HANDLED,
        SWALLOWED,
    ),
    rule("todo!(", Scope::Code, Place::Everywhere, FINISHED, PROMISE),
    rule(
        "unimplemented!(",
        Scope::Code,
        Place::Everywhere,
        FINISHED,
        PROMISE,
    ),
    rule(
        "dbg!(",
        Scope::Code,
        Place::Everywhere,
        "`tracing`",
        PROMISE,
    ),
    rule(
        "FIXME",
        Scope::Anywhere,
        Place::Everywhere,
        FINISHED,
        PROMISE,
    ),
    rule("XXX", Scope::Anywhere, Place::Everywhere, FINISHED, PROMISE),
    rule(
        "placeholder",
        Scope::Anywhere,
        Place::OutsideTests,
        FINISHED,
        PROMISE,
    ),
    rule(
        "for now",
        Scope::Anywhere,
        Place::OutsideTests,
        FINISHED,
        PROMISE,
    ),
];

/// Patterns refused in every text file of the project, not only in Rust.
pub(crate) const PLAIN_RULES: &[Rule] = &[
    rule(
        "/root/",
        Scope::Anywhere,
        Place::Everywhere,
        RELATIVE,
        MACHINE,
    ),
    rule(
        "/home/",
        Scope::Anywhere,
        Place::Everywhere,
        RELATIVE,
        MACHINE,
    ),
    rule(
        "/work/",
        Scope::Anywhere,
        Place::Everywhere,
        RELATIVE,
        MACHINE,
    ),
    rule(
        "../shared",
        Scope::Anywhere,
        Place::Outside(&["scripts/"]),
        RELATIVE,
        MACHINE,
    ),
];
