//! The Veltrix service: config, components, admin and the running tree.

pub mod components;
pub mod config;
