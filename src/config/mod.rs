//! The config: files and environment → one tree with origins → raw sections → validated [`Config`].
//!
//! Every problem is found in one pass and told with its place; what comes out needs no further check.

mod arrivals;
mod bounded;
mod chance;
mod dead_letters;
mod decode;
mod dedupe;
mod disk;
mod document;
mod environment;
mod event_key;
mod excerpt;
mod expression;
mod faults;
mod files;
mod handler;
mod journal;
mod json;
mod layers;
mod live;
mod loops;
mod mask;
mod message;
mod names;
mod node;
mod one_or_many;
mod origins;
mod path;
mod problems;
mod reload;
mod routing;
mod schema;
mod secret;
mod secret_places;
mod section;
mod service;
mod sink;
mod source;
mod substitute;
mod suggest;
mod supervision;
mod test_case;
mod test_expectation;
mod test_given;
mod test_stub;
mod toml;
mod units;
mod unsupported;
mod validate;
mod version;
mod wiring;
mod written;
mod yaml;

use std::{collections::BTreeMap, path::PathBuf};

use crate::{components::Components, deep_stack};

pub(crate) use self::one_or_many::OneOrMany;
pub use self::{
    bounded::WholeNumber,
    dead_letters::DeadLettersConfig,
    dedupe::DedupeConfig,
    document::json_schema,
    event_key::EventKey,
    expression::{CheckExpression, Envelope, Expression, Purpose},
    faults::FaultsConfig,
    files::locate,
    handler::{Emits, HandlerConfig, Isolation, Target},
    journal::JournalConfig,
    live::{Fingerprint, Fixed},
    origins::{FileLocation, Location, Span},
    path::{KeyPath, Step},
    problems::{Problem, Problems, Severity},
    reload::ReloadConfig,
    routing::Unmatched,
    secret::Secret,
    section::Section,
    service::{AdminConfig, ServiceConfig, Workers},
    sink::SinkConfig,
    source::SourceConfig,
    supervision::{Backoff, Breaker, Restart, Supervision},
    test_case::TestCase,
    test_expectation::{Expected, ExpectedDeadLetter, ExpectedEvent},
    test_given::{Given, GivenItem},
    test_stub::{Stub, StubAnswer},
    units::{ByteSize, DurationText, UnitError},
    validate::{Config, Place},
    written::Written,
};
pub(crate) use mask::Mask;

/// Reads `files` in order, later ones over earlier ones, then the `VELTRIX__...` variables of `environment`, and
/// validates all. Binds, opens for writing and creates nothing. With the config come its warnings.
///
/// # Errors
/// Every problem found, warnings included, at least one of them an error.
pub fn load(
    files: &[PathBuf],
    components: &Components,
    place: Place,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Problems), Problems> {
    let environment: BTreeMap<String, String> = environment.into_iter().collect();
    let load = || {
        let tree = layers::load(files, &environment, &schema::Schemas::new(components))?;
        validate::validate(tree, components, place)
    };
    // each expression needs one; thousands of threads would take longer than all the rest
    match deep_stack::run(load) {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => load(),
    }
}

/// The process's environment for [`load`], without variables that are not UTF-8 (none of ours can be).
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
