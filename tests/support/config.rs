//! What the config's tests share: stand-ins for the components, and configs written to a temporary directory.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use veltrix::{
    components::{Components, HandlerFactory, Kind, SinkFactory, SourceFactory},
    config::{self, ByteSize, Config, DurationText, Place, Problems, Purpose, Section},
};
use veltrix_actors::{AnySink, LaneHandler, Source, StartError};

/// Any component of the tests: it only has options.
struct Inert;

/// What starting one says: these tests only validate.
fn never_started<T>() -> Result<T, StartError> {
    Err(StartError("it is only validated".to_owned()))
}

impl SourceFactory for Inert {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        never_started()
    }
}

impl HandlerFactory for Inert {
    fn build(&self, _: usize) -> Result<LaneHandler, StartError> {
        never_started()
    }
}

impl SinkFactory for Inert {
    fn build(&self) -> Result<AnySink, StartError> {
        never_started()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Listen {
    /// The address to listen on.
    listen: String,
    path: Option<String>,
    auth: Option<Auth>,
    #[serde(default)]
    max_body: Option<ByteSize>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Auth {
    bearer: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Generate {
    rate: Option<u32>,
    count: Option<u64>,
    types: Option<BTreeMap<String, u32>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Map {
    #[serde(default)]
    rename: BTreeMap<String, String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
    #[serde(default)]
    remove: Vec<String>,
    emit: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Http {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    concurrency: Option<u8>,
    retry: Option<Retry>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct Retry {
    max_elapsed: DurationText,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its errors are looked at")]
struct File {
    path: String,
    follow: Option<bool>,
}

macro_rules! kind {
    ($name:literal, $options:ty) => {
        Kind {
            name: $name,
            summary: "a stand-in",
            schema: || schema_for!($options),
            prepare: Arc::new(|section: Section<'_>| {
                section.options::<$options>()?;
                Some(Arc::new(Inert))
            }),
        }
    };
}

/// A `map` checks its expressions one by one.
fn map() -> Kind<dyn HandlerFactory> {
    Kind {
        name: "map",
        summary: "a stand-in",
        schema: || schema_for!(Map),
        prepare: Arc::new(|section: Section<'_>| {
            let options = section.options::<Map>()?;
            for (key, text) in &options.set {
                if let Err(why) = check_expression(text, Purpose::Condition) {
                    section.problem(&format!("set.{key}"), why);
                }
            }
            Some(Arc::new(Inert))
        }),
    }
}

/// Expressions with `??` are wrong.
fn check_expression(text: &str, _: Purpose) -> Result<(), String> {
    if text.contains("??") {
        Err(format!("`{text}` is not an expression"))
    } else {
        Ok(())
    }
}

/// The kinds of the contract, as far as their options matter here.
pub(crate) fn components() -> Components {
    Components {
        sources: vec![
            kind!("http", Listen),
            kind!("tcp", Listen),
            kind!("stdin", Nothing),
            kind!("file", File),
            kind!("generate", Generate),
        ],
        handlers: vec![map(), kind!("pass", Nothing), kind!("http", Http)],
        sinks: vec![
            kind!("file", File),
            kind!("http", Http),
            kind!("stdout", Nothing),
            kind!("blackhole", Nothing),
        ],
        check_expression,
    }
}

/// Loads files (name, text) in order. File names in the answer are relative to the directory they are written to.
pub(crate) fn load(
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
) -> Result<(Config, Vec<String>), Failure> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let paths: Vec<PathBuf> = files
        .iter()
        .map(|(name, text)| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a written file");
            path
        })
        .collect();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let here = format!("{}/", directory.path().display());
    let lines = |problems: &Problems| problems.to_string().replace(&here, "");
    match config::load(&paths, &components(), Place::Here, environment) {
        Ok((config, warnings)) => Ok((
            config,
            lines(&warnings).lines().map(str::to_owned).collect(),
        )),
        Err(problems) => Err(Failure {
            text: lines(&problems),
            problems,
        }),
    }
}

/// Why a config is refused.
#[derive(Debug)]
pub(crate) struct Failure {
    /// As a user sees it.
    pub(crate) text: String,
    /// As a program sees it.
    pub(crate) problems: Problems,
}
