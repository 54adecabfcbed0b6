//! The Veltrix service: config, components, admin and the running tree.
//!
//! The program is this library: `src/main.rs` is `Veltrix::new().main()`, and so is the `main` of whoever adds handlers
//! written in Rust.

mod admin;
mod app;
mod cli;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the components are being wired in")
)]
mod cloudevents;
pub mod components;
pub mod config;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the components are being wired in")
)]
mod handlers;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the components are being wired in")
)]
mod sinks;
mod telemetry;
mod veltrix;

pub use veltrix::Veltrix;
