//! The story's comparison: a decentralized system, message queues, and Veltrix, under the same load and the same faults.

mod events;
mod feeder;
mod frame;
mod ledger;
mod play;
mod process;
mod receiver;
mod run;
mod schedule;
mod setting;
mod source;
mod system;
mod usage;
mod veltrix_config;

use std::path::PathBuf;

use events::Events;
use run::Bench;
use schedule::Arrivals;
use setting::{Fault, Setting};
use system::{Programs, System};

/// Compare a decentralized system, message queues and Veltrix under the same load and faults.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value_t = 4)]
    fan_out: usize,
    #[arg(long, default_value_t = 1000)]
    rounds: u32,
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    #[arg(long)]
    only: Option<String>,
    #[arg(long)]
    fault: Option<usize>,
    #[arg(long)]
    unpinned: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    let events = Events::load(options.data.as_deref())?;
    let folder = std::env::temp_dir().join(format!("veltrix-story-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let bench = Bench {
        programs: Programs {
            component: this.with_file_name("story-component"),
            veltrix: this.with_file_name("story-veltrix"),
            nats: "nats-server".into(),
            redis: "redis-server".into(),
        },
        events: &events,
        folder: folder.clone(),
    };
    for system in [
        System::ATuned,
        System::ANaive,
        System::BNats,
        System::BRedis,
        System::BJetstream,
        System::BRedisStreams,
        System::C,
        System::CMemory,
        System::CNoMetrics,
    ] {
        if options
            .only
            .as_ref()
            .is_some_and(|only| only != system.name())
        {
            continue;
        }
        let setting = Setting {
            fan_out: options.fan_out,
            rounds: options.rounds,
            rate: options.rate,
            warm_up: 0.5,
            seconds: options.seconds,
            arrivals: Arrivals::Poisson,
            fault: options.fault.map_or(Fault::None, |index| Fault::ALL[index]),
            is_pinned: !options.unpinned,
            seed: 7,
        };
        match bench.run(system, &setting) {
            Ok(m) => println!(
                "{:<16} mean {:>8.3} p50 {:>8.3} p99 {:>8.3} p99.9 {:>8.3} cpu/M {:>7.2} pss {:>6.1} hwm {:>6.1} slip {:>7.3} backlog {:>7.3} {:?} {:?}",
                system.name(),
                m.latencies.mean() / 1e6,
                m.latency_ms(0.5),
                m.latency_ms(0.99),
                m.latency_ms(0.999),
                m.cpu_seconds_per_million(),
                m.proportional_bytes as f64 / 1048576.0,
                m.peak_bytes as f64 / 1048576.0,
                m.slip.as_secs_f64() * 1e3,
                m.backlog.as_secs_f64() * 1e3,
                m.counts,
                m.recovery
            ),
            Err(error) => println!("{:<16} {error:#}", system.name()),
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
