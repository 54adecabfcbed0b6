//! The façade: the built-in components, what a user's own `main` adds to them, and the command line over both.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use veltrix_actors::{AsyncHandler, Handler, HandlerFactory, LaneHandler};

use crate::builtin;
use crate::cli::Cli;
use crate::components::{Components, Kind};
use crate::native;

/// A Veltrix process about to start.
pub struct Veltrix {
    components: Components,
}

impl Default for Veltrix {
    fn default() -> Self {
        Self::new()
    }
}

impl Veltrix {
    /// The built-in components.
    pub fn new() -> Self {
        Self {
            components: builtin::components(),
        }
    }

    /// Adds a kind of handler written in Rust, which the config names by `type: <name>`; a kind of the same name is
    /// replaced. `summary` says in one line what it does. `build` makes the handler of each lane from the section's
    /// options, and a fresh one after a panic; an error keeps the handler from starting.
    ///
    /// It has a thread of its own unless its section says `isolation: shared`.
    pub fn handler<O, H>(
        mut self,
        name: &'static str,
        summary: &'static str,
        build: impl Fn(&O) -> Result<H, String> + Send + Sync + 'static,
    ) -> Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        H: Handler,
    {
        let build = move |options: &O| Ok(LaneHandler::Sync(Box::new(build(options)?)));
        self.add(native::kind(name, summary, build));
        self
    }

    /// As [`Veltrix::handler`] for one that waits for somebody else without blocking its thread: its lanes handle as many
    /// events at a time. It runs on tokio's current-thread runtime, so tokio's timers and sockets are there for it.
    pub fn async_handler<O, H>(
        mut self,
        name: &'static str,
        summary: &'static str,
        build: impl Fn(&O) -> Result<H, String> + Send + Sync + 'static,
    ) -> Self
    where
        O: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        H: AsyncHandler,
    {
        let build = move |options: &O| Ok(LaneHandler::Async(Box::new(build(options)?)));
        self.add(native::kind(name, summary, build));
        self
    }

    fn add(&mut self, kind: Kind<dyn HandlerFactory>) {
        let handlers = &mut self.components.handlers;
        handlers.retain(|known| known.name != kind.name);
        handlers.push(kind);
    }

    /// Runs the command line of this process.
    pub fn main(self) -> ExitCode {
        Cli::parse().run(&Arc::new(self.components))
    }
}
