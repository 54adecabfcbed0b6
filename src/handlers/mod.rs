//! The built-in handlers, one file or folder each.

pub(crate) mod conditional;
pub(crate) mod exec;
pub(crate) mod http;
pub(crate) mod map;
pub(crate) mod pass;
