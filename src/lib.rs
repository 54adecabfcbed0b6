//! The Veltrix service: config, components, admin and the running tree.

mod cloudevents;
mod config;
mod lines;
mod sources;
