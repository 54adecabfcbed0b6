//! One component of the decentralized systems, and of those with a broker.

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use veltrix_story_system::ComponentOptions;

#[derive(Parser)]
#[command(about = "One component of the systems that the benchmark `story` compares")]
struct Arguments {
    #[command(flatten)]
    options: ComponentOptions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { options } = Arguments::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    let here = tokio::task::LocalSet::new();
    tokio::select! {
        ended = here.run_until(options.run()) => ended,
        _ = terminated.recv() => Ok(()),
    }
}
