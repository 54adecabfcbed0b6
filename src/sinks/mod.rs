//! The built-in sinks, one file or folder each.

pub(crate) mod blackhole;
pub(crate) mod file;
pub(crate) mod http;
mod line_buffer;
mod retry;
pub(crate) mod stdout;
pub(crate) mod tcp;
