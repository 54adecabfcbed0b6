//! `veltrix graph`: the wiring of a config, whole or as far as one event type comes.

mod dot;
mod json;
mod mermaid;
mod parts;
mod text;
mod way;
mod wiring;

use std::io;
use std::process::ExitCode;

use clap::ValueEnum;
use veltrix_actors::{Segment, TypePattern};

use super::{BAD_CONFIG, ConfigArgs, load, print};
use crate::components::Components;
use crate::config::Place;
use wiring::Wiring;

/// Which config, how much of it, and in which form.
#[derive(Debug, clap::Args)]
pub(super) struct Graph {
    #[command(flatten)]
    config: ConfigArgs,

    /// How it is printed: text for a terminal, DOT for Graphviz, Mermaid for Markdown pages, or JSON for programs.
    #[arg(
        short = 'o',
        long,
        visible_alias = "output",
        value_enum,
        default_value = "text"
    )]
    format: Format,

    /// The way of events of this type only, such as `order.created`.
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    event_type: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Dot,
    Mermaid,
    Json,
}

impl Graph {
    /// Prints it, or what is wrong with the config.
    pub(super) fn run(self, components: &Components) -> ExitCode {
        let config = match load(&self.config, components, Place::Elsewhere) {
            Ok((config, _)) => config,
            Err(problems) => {
                print(&mut io::stderr(), &problems.to_string());
                return ExitCode::from(BAD_CONFIG);
            }
        };
        let wiring = Wiring::new(&config, self.event_type.as_deref());
        let drawn = match (self.format, &self.event_type) {
            (Format::Text, None) => text::draw(&wiring),
            (Format::Text, Some(event_type)) => way::draw(&wiring, event_type),
            (Format::Dot, _) => dot::draw(&wiring),
            (Format::Mermaid, _) => mermaid::draw(&wiring),
            (Format::Json, _) => format!("{}\n", json::draw(&wiring)),
        };
        print(&mut io::stdout(), &drawn);
        ExitCode::SUCCESS
    }
}

/// One type; a pattern has no single way.
fn event_type(text: &str) -> Result<String, String> {
    let pattern = TypePattern::parse(text).map_err(|error| error.to_string())?;
    let is_one = pattern
        .segments()
        .all(|segment| matches!(segment, Segment::Literal(_)));
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "name one type, such as `order.created`, not a pattern".to_owned())
}
