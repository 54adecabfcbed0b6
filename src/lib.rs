//! The Veltrix service: config, components, admin and the running tree.
//!
//! The program is this library: `src/main.rs` is `Veltrix::new().main()`, and so is the `main` of whoever adds handlers
//! written in Rust.

mod admin;
mod admin_client;
mod app;
mod audit;
mod builtin;
mod cli;
mod cloudevents;
pub mod components;
pub mod config;
mod dead_letters;
mod deep_stack;
mod disk_cursor;
mod expression;
mod handlers;
mod http_client;
pub mod journal;
mod ledgers;
mod lines;
mod native;
mod sinks;
mod sources;
mod telemetry;
mod testbed;
mod veltrix;

pub use veltrix::Veltrix;
pub use veltrix_actors::{
    AsyncHandler, Event, Handler, HandlerError, Outcome, Output, Refusal, Reply, ReplyResult, Trial,
};
