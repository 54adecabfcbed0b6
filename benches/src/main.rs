//! Benchmarks of Veltrix, one command each, and the programs that they are compared with.
//! What each measures, and how to read it: `docs/benchmarks.md`.
#![expect(clippy::print_stdout, reason = "figures are this program's output")]

mod child_process;
mod generate_small;
mod line_reader;
mod outputs;
mod pipeline;
mod straight_line;

use clap::{Parser, Subcommand};

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::GenerateSmall(options) => generate_small::run(&options),
        Command::StraightLine(options) => straight_line::run(&options),
        Command::Pipeline(options) => pipeline::run(&options),
    }
}
