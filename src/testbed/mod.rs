//! `veltrix test`: runs the tests of a config through its real wiring, with recorders in the place of sinks.

mod channel;
mod compare;
mod given;
mod junit;
mod matching;
mod recorder;
mod report;
mod stubs;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use veltrix_actors::DurabilityKind;

use crate::app;
use crate::config::{Config, HandlerConfig, SinkConfig, SourceConfig, TestCase, Unmatched};
use channel::{Channel, DeadLetters};
use given::GivenFactory;
use recorder::{Record, RecorderFactory};

pub(crate) use junit::junit;
pub(crate) use report::{json, summary, text};

/// The sinks of what is recorded beside the config's own sinks; no sink of a config can be called so.
const UNMATCHED: &str = "(unmatched)";
const DEAD_LETTERS: &str = "(dead letters)";

/// Handler types that call something outside of the process.
const CALLERS: [&str; 2] = ["http", "exec"];

/// A data directory that cannot be: what another process keeps in the config's own is not a test's to open.
const NOWHERE: &str = "/dev/null/veltrix-test";

/// How long a handler's attempts wait in a test.
const BACKOFF: Duration = Duration::from_millis(1);

/// What came of one test.
pub(crate) struct TestOutcome {
    /// Its name.
    pub(crate) name: String,
    /// File and line.
    pub(crate) place: String,
    /// Where what came is not what was expected; empty if it passed.
    pub(crate) failures: Vec<Failure>,
    pub(crate) took: Duration,
}

/// What is wrong at one place.
pub(crate) struct Failure {
    /// A sink, the dead letters, or the test as a whole.
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
}

impl Failure {
    fn whole(why: String) -> Self {
        Self {
            title: "the test could not be run".to_owned(),
            lines: vec![why],
        }
    }
}

/// Runs one of the config's tests.
pub(crate) fn run(config: &Config, case: &TestCase) -> TestOutcome {
    let started = Instant::now();
    TestOutcome {
        name: case.name.clone(),
        place: case.place.clone(),
        failures: failures(config, case).unwrap_or_else(|why| vec![Failure::whole(why)]),
        took: started.elapsed(),
    }
}

fn failures(config: &Config, case: &TestCase) -> Result<Vec<Failure>, String> {
    let stage = Stage::new(config, case)?;
    app::rehearse(&stage.config)?;
    let mut channels = Vec::new();
    for (name, record) in &stage.sinks {
        let expected = case.sinks.iter().find(|(sink, _)| sink == name);
        let expected = expected.map(|(_, expected)| expected);
        channels.push(Channel::of_sink(
            format!("sink `{name}`"),
            expected,
            record.came()?,
        )?);
    }
    let letters = DeadLetters::read(&stage.dead_letters.came()?)?;
    channels.push(Channel::of_dead_letters(&case.dead_letters, &letters)?);
    let mut unmatched = stage.unmatched.came()?;
    unmatched.extend(letters.unmatched);
    channels.push(Channel::of_sink(
        "unmatched".to_owned(),
        Some(&case.unmatched),
        unmatched,
    )?);
    let failures = channels
        .iter()
        .filter_map(|channel| channel.failure(case.in_order));
    Ok(failures.collect())
}

/// A config with what a test puts in the place of the world, and what is recorded there.
struct Stage {
    config: Config,
    sinks: Vec<(String, Record)>,
    dead_letters: Record,
    unmatched: Record,
}

impl Stage {
    fn new(config: &Config, case: &TestCase) -> Result<Self, String> {
        let mut config = config.clone();
        let names = config.sinks.iter().map(|sink| sink.name.clone());
        let sinks: Vec<(String, Record)> = names.map(|name| (name, Record::default())).collect();
        let (unmatched, dead_letters) = (Record::default(), Record::default());
        let of = |name: Option<&String>| {
            let record = sinks.iter().find(|(sink, _)| Some(sink) == name);
            record.map(|(_, record)| record.clone())
        };
        let unmatched_sink = match &config.unmatched {
            Unmatched::Sink(name) => of(Some(name)),
            _ => None,
        };
        let copies_sink = of(config.dead_letters.also_to.as_ref());
        let own = sinks
            .iter()
            .map(|(name, record)| recorder(name, vec![record.clone()]));
        let beside = [
            recorder(
                UNMATCHED,
                [Some(unmatched.clone()), unmatched_sink]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
            recorder(
                DEAD_LETTERS,
                [Some(dead_letters.clone()), copies_sink]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
        ];
        let recorders: Vec<SinkConfig> = own.chain(beside).collect();
        let source = GivenFactory::new(case, &config)?;
        config.sources = vec![SourceConfig {
            name: "given".to_owned(),
            kind: "test".to_owned(),
            envelope: None,
            durability: DurabilityKind::None,
            factory: Arc::new(source),
            fingerprint: crate::config::Fingerprint::default(),
        }];
        config.sinks = recorders;
        if config.unmatched != Unmatched::DeadLetter {
            config.unmatched = Unmatched::Sink(UNMATCHED.to_owned());
        }
        config.dead_letters.also_to = Some(DEAD_LETTERS.to_owned());
        config.faults = None;
        config.service.data_dir = PathBuf::from(NOWHERE);
        for handler in &mut config.handlers {
            stage_handler(handler, case)?;
        }
        Ok(Self {
            config,
            sinks,
            dead_letters,
            unmatched,
        })
    }
}

fn recorder(name: &str, records: Vec<Record>) -> SinkConfig {
    SinkConfig {
        name: name.to_owned(),
        kind: "test".to_owned(),
        factory: Arc::new(RecorderFactory::new(records)),
        fingerprint: crate::config::Fingerprint::default(),
    }
}

/// Nobody waits in a test, and nobody is called who is not meant to be.
fn stage_handler(handler: &mut HandlerConfig, case: &TestCase) -> Result<(), String> {
    handler.supervision.backoff.min = BACKOFF;
    handler.supervision.backoff.max = BACKOFF;
    // a ratio of 1 is never
    handler.supervision.breaker.dead_letter_ratio = 1.0;
    let stubs = case.stubs.iter().find(|(name, _)| *name == handler.name);
    let is_live = case.live.contains(&handler.name);
    match stubs {
        Some((_, answers)) => handler.factory = stubs::factory(handler, answers)?,
        None if CALLERS.contains(&handler.kind.as_str()) && !is_live => {
            handler.factory = stubs::factory(handler, &[])?;
        }
        None => {}
    }
    Ok(())
}
