//! The built-in components: one line each. A component adds itself here and nowhere else.

use std::sync::Arc;

use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;

use crate::components::{Components, HandlerFactory, Kind, SinkFactory, SourceFactory};
use crate::config::Section;
use crate::expression::{self, EnvelopeExpressions};
use crate::handlers::conditional;
use crate::handlers::{exec, http as http_handler, map, pass};
use crate::lines::EnvelopeFactory;
use crate::sinks::{blackhole, file as file_sink, http as http_sink, stdout, tcp as tcp_sink};
use crate::sources::{file as file_source, generate, http as http_source, stdin, tcp};

/// What is wrong with options: key and message.
type Wrong = Vec<(String, String)>;

/// All of them.
pub(crate) fn components() -> Components {
    Components {
        sources: sources(),
        handlers: handlers(),
        sinks: sinks(),
        check_expression: expression::check,
    }
}

fn sources() -> Vec<Kind<dyn SourceFactory>> {
    vec![
        source::<http_source::HttpOptions, _>(
            "http",
            "CloudEvents over HTTP: binary, structured and batched",
            |options, _| http_source::prepare(options),
        ),
        lines::<stdin::StdinOptions, _>(
            "stdin",
            "Events from standard input, one a line",
            stdin::prepare,
        ),
        lines::<tcp::TcpOptions, _>(
            "tcp",
            "Events over TCP, one a line, many connections",
            tcp::prepare,
        ),
        lines::<file_source::FileOptions, _>(
            "file",
            "Events from files, one a line",
            file_source::prepare,
        ),
        source::<generate::GenerateOptions, _>(
            "generate",
            "Made-up events of a small shop",
            generate::prepare,
        ),
    ]
}

fn handlers() -> Vec<Kind<dyn HandlerFactory>> {
    vec![
        Kind {
            name: "map",
            summary: "Renames, computes and removes fields",
            schema: || schema_for!(map::MapOptions),
            prepare: Arc::new(|section| map::prepare(&section)),
        },
        handler::<http_handler::HttpOptions, _>(
            "http",
            "Posts each event to a component; its answer is the result",
            http_handler::prepare,
        ),
        handler::<exec::ExecOptions, _>(
            "exec",
            "Runs a child process: an event a line in, an answer a line out",
            exec::prepare,
        ),
        handler::<pass::PassOptions, _>("pass", "Passes events on; it only routes", pass::prepare),
    ]
}

fn sinks() -> Vec<Kind<dyn SinkFactory>> {
    vec![
        sink::<file_sink::FileOptions, _>("file", "Files, one event a line", file_sink::prepare),
        sink::<stdout::StdoutOptions, _>(
            "stdout",
            "Standard output, one event a line",
            stdout::prepare,
        ),
        sink::<http_sink::HttpOptions, _>(
            "http",
            "Posts events to a receiver, one or many a request",
            http_sink::prepare,
        ),
        sink::<tcp_sink::TcpOptions, _>(
            "tcp",
            "A TCP connection, one event a line",
            tcp_sink::prepare,
        ),
        sink::<blackhole::BlackholeOptions, _>(
            "blackhole",
            "Takes everything, keeps nothing",
            blackhole::prepare,
        ),
    ]
}

/// Decodes a section's options and prepares the component; problems go to the section.
fn prepared<O, F>(
    section: &Section<'_>,
    prepare: impl FnOnce(O, &str) -> Result<F, Wrong>,
) -> Option<F>
where
    O: DeserializeOwned + JsonSchema,
{
    let prepared = prepare(section.options()?, section.name());
    let report = |problems: Wrong| {
        for (key, message) in problems {
            section.problem(&key, message);
        }
    };
    prepared.map_err(report).ok()
}

fn source<O, F>(
    name: &'static str,
    summary: &'static str,
    prepare: fn(O, &str) -> Result<F, Wrong>,
) -> Kind<dyn SourceFactory>
where
    O: DeserializeOwned + JsonSchema + 'static,
    F: SourceFactory + 'static,
{
    Kind {
        name,
        summary,
        schema: || schema_for!(O),
        prepare: Arc::new(move |section| {
            Some(Arc::new(prepared(&section, prepare)?) as Arc<dyn SourceFactory>)
        }),
    }
}

/// A source of lines, which an `envelope` may wrap.
fn lines<O, F>(
    name: &'static str,
    summary: &'static str,
    prepare: fn(O, Option<EnvelopeFactory>) -> Result<F, Wrong>,
) -> Kind<dyn SourceFactory>
where
    O: DeserializeOwned + JsonSchema + 'static,
    F: SourceFactory + 'static,
{
    Kind {
        name,
        summary,
        schema: || schema_for!(O),
        prepare: Arc::new(move |section| {
            let envelope = section
                .envelope()
                .map(|envelope| EnvelopeExpressions::factory(envelope.clone()));
            let prepared = prepared(&section, |options, _| prepare(options, envelope))?;
            Some(Arc::new(prepared) as Arc<dyn SourceFactory>)
        }),
    }
}

/// A handler whose `when` is judged before it.
fn handler<O, F>(
    name: &'static str,
    summary: &'static str,
    prepare: fn(O, &str) -> Result<F, Wrong>,
) -> Kind<dyn HandlerFactory>
where
    O: DeserializeOwned + JsonSchema + 'static,
    F: HandlerFactory + 'static,
{
    Kind {
        name,
        summary,
        schema: || schema_for!(O),
        prepare: Arc::new(move |section| {
            conditional::wrap(&section, Arc::new(prepared(&section, prepare)?))
        }),
    }
}

fn sink<O, F>(
    name: &'static str,
    summary: &'static str,
    prepare: fn(O, &str) -> Result<F, Wrong>,
) -> Kind<dyn SinkFactory>
where
    O: DeserializeOwned + JsonSchema + 'static,
    F: SinkFactory + 'static,
{
    Kind {
        name,
        summary,
        schema: || schema_for!(O),
        prepare: Arc::new(move |section| {
            Some(Arc::new(prepared(&section, prepare)?) as Arc<dyn SinkFactory>)
        }),
    }
}
