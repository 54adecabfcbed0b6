//! The built-in handlers, one file or folder each.

pub(crate) mod pass;
