//! The façade: the built-in components, what a user's own `main` adds to them, and the command line over both.

use std::process::ExitCode;

use clap::Parser;

use crate::builtin;
use crate::cli::Cli;
use crate::components::Components;

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

    /// Runs the command line of this process.
    pub fn main(self) -> ExitCode {
        Cli::parse().run(&self.components)
    }
}
