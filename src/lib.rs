//! The Veltrix service: config, components, admin and the running tree.

pub mod config;
mod handlers;
mod sinks;
