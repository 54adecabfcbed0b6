//! The built-in handlers.

mod map;
