//! Benchmarks of Veltrix, one command each, and the programs that they are compared with.
//! What each measures, and how to read it: `docs/benchmarks.md`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures are this program's output, and how far it is goes to stderr"
)]

mod child_process;
mod durable;
mod feed;
mod generate_small;
mod latency;
mod line_reader;
mod outputs;
mod patterns;
mod pipeline;
mod story;
mod straight_line;
mod transport;
mod tree;

use std::alloc::System;

use clap::{Parser, Subcommand};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// The system's allocator, counted. It costs an atomic addition an allocation, in every benchmark alike.
#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
#[command(about = "Benchmarks of Veltrix and the programs that they are compared with")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    GenerateSmall(generate_small::Options),
    StraightLine(straight_line::Options),
    Pipeline(pipeline::Options),
    Transport(transport::Options),
    Latency(latency::Options),
    Patterns(patterns::Options),
    Durable(durable::Options),
    Story(Box<story::Options>),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::GenerateSmall(options) => generate_small::run(&options),
        Command::StraightLine(options) => straight_line::run(&options),
        Command::Pipeline(options) => pipeline::run(&options),
        Command::Transport(options) => transport::run(&options),
        Command::Latency(options) => latency::run(&options),
        Command::Patterns(options) => patterns::run(&options),
        Command::Durable(options) => durable::run(&options),
        Command::Story(options) => story::run(&options),
    }
}
