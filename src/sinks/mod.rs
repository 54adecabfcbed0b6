//! The built-in sinks, one file or folder each.

pub(crate) mod blackhole;
pub(crate) mod file;
mod line_buffer;
pub(crate) mod stdout;
