//! `veltrix schema`: the JSON Schema of the config, for editors.

use std::io;
use std::process::ExitCode;

use super::print;
use crate::components::Components;
use crate::config;

/// Prints it.
pub(super) fn run(components: &Components) -> ExitCode {
    let schema = config::json_schema(components);
    print(&mut io::stdout(), &format!("{schema:#}\n"));
    ExitCode::SUCCESS
}
