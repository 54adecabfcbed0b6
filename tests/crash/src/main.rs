//! `veltrix-crash`: the command line of the crash harness. Exit codes: 0 nothing is wrong, 1 something is, 2 usage.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use veltrix_crash::{
    Blows, Durability, FileSystem, Ground, Load, Outage, Report, Setup, Stops, Wiring, disk_full,
    kill, power, sigterm, sink_down,
};

/// Kills Veltrix, cuts its power and fills its disk under load, and checks that accepted events are kept.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    run: Run,
    /// The binary under test; by default the one beside this one.
    #[arg(long, global = true)]
    veltrix: Option<PathBuf>,
    /// Where rounds have their folders; by default a new one in the system's temporary folder.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// Keeps the folders of good rounds as well.
    #[arg(long, global = true)]
    keep: bool,
    /// Replays the choices of a run, or of the round that a violation names.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// What the sources promise. With `none` a crash loses events, which must be found.
    #[arg(long, global = true, default_value_t = Durability::Journal)]
    durability: Durability,
    #[arg(long, global = true, default_value_t = 64)]
    clients: u16,
    #[arg(long, global = true, default_value_t = 1_000)]
    keys: u16,
    /// Bytes that most payloads stay below.
    #[arg(long, global = true, default_value_t = 600)]
    payload: usize,
    /// The longest pause of a client after an answer, in milliseconds.
    #[arg(long, global = true, default_value_t = 0)]
    pause: u64,
    /// `sync` of the file sinks; by default `always` for kills and power cuts, and left out elsewhere.
    #[arg(long, global = true)]
    file_sync: Option<String>,
    /// All sinks deliver to the harness, none to a file.
    #[arg(long, global = true)]
    received: bool,
    /// `journal.segment`, in KiB.
    #[arg(long, global = true, default_value_t = 1_024)]
    segment: u64,
    /// `journal.retain.size`, in KiB.
    #[arg(long, global = true, default_value_t = 2_048)]
    retain: u64,
    /// Milliseconds within which 99 of 100 processes must be ready after a crash.
    #[arg(long, global = true)]
    ready_within: Option<u64>,
    #[arg(short, long, global = true, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Run {
    /// `kill -9` at random moments, a tenth of them during start and recovery.
    Kill {
        #[arg(long, default_value_t = 60)]
        count: u64,
        /// Kills in one folder.
        #[arg(long, default_value_t = 20)]
        in_round: u64,
        /// The mean time of load before a kill, in milliseconds.
        #[arg(long, default_value_t = 300)]
        interval: u64,
        /// The http sink's receiver is down until the last kill.
        #[arg(long)]
        receiver_down: bool,
        /// MiB that wait on disk for that receiver before the first kill.
        #[arg(long, default_value_t = 0)]
        backlog: u64,
        /// Leave the journal's tail as the process left it.
        #[arg(long)]
        keep_tail: bool,
    },
    /// Power cuts: a file system that is shut down under the process. Needs root, loop devices and xfsprogs.
    Power {
        #[arg(long, default_value_t = FileSystem::Xfs)]
        fs: FileSystem,
        #[arg(long, default_value_t = 100)]
        count: u64,
        #[arg(long, default_value_t = 50)]
        in_round: u64,
        #[arg(long, default_value_t = 20)]
        interval: u64,
    },
    /// A small disk that is filled and freed. Needs root.
    DiskFull {
        #[arg(long, default_value_t = 50)]
        cycles: u64,
    },
    /// A sink that is down for long, and its neighbours.
    SinkDown {
        #[arg(long, default_value_t = 100_000)]
        events: u64,
        /// How long it is down at least, in seconds.
        #[arg(long, default_value_t = 0)]
        time: u64,
        /// Hold memory and rates to their limits: for sizes of a million and more, on a release build.
        #[arg(long)]
        check_rates: bool,
    },
    /// SIGTERM in full load, with healthy sinks: nothing lost, nothing twice.
    Sigterm {
        #[arg(long, default_value_t = 100)]
        runs: u64,
        /// Processes in one folder, one after the other.
        #[arg(long, default_value_t = 10)]
        in_round: u64,
        #[arg(long, default_value_t = 300)]
        interval: u64,
    },
}

fn main() -> ExitCode {
    match carry_out(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let ground = ground(arguments)?;
    let ready_within = arguments.ready_within.map(Duration::from_millis);
    let report = run(&ground, &arguments.run, ready_within)?;
    let text = match arguments.output {
        Output::Text => report.table(),
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if report.is_good() && !arguments.keep {
        std::fs::remove_dir_all(&ground.folder)?;
    }
    Ok(match report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn run(ground: &Ground, run: &Run, ready_within: Option<Duration>) -> anyhow::Result<Report> {
    match *run {
        Run::Kill {
            count,
            in_round,
            interval,
            receiver_down,
            backlog,
            keep_tail,
        } => kill(
            ground,
            &Blows {
                count,
                in_round: in_round.max(1),
                interval: Duration::from_millis(interval),
                mutilates: !keep_tail,
                ready_within,
                is_receiver_down: receiver_down || backlog > 0,
                backlog_bytes: backlog << 20,
            },
        ),
        Run::Power {
            fs,
            count,
            in_round,
            interval,
        } => power(
            ground,
            &Blows {
                count,
                in_round: in_round.max(1),
                interval: Duration::from_millis(interval),
                mutilates: false,
                ready_within,
                is_receiver_down: false,
                backlog_bytes: 0,
            },
            fs,
        ),
        Run::DiskFull { cycles } => disk_full(ground, cycles),
        Run::SinkDown {
            events,
            time,
            check_rates,
        } => sink_down(
            ground,
            &Outage {
                events,
                time: Duration::from_secs(time),
                checks_rates: check_rates,
            },
        ),
        Run::Sigterm {
            runs,
            in_round,
            interval,
        } => sigterm(
            ground,
            &Stops {
                runs,
                in_round: in_round.max(1),
                interval: Duration::from_millis(interval),
            },
        ),
    }
}

fn ground(arguments: &Arguments) -> anyhow::Result<Ground> {
    let beside = || -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe()?;
        Ok(own.with_file_name("veltrix"))
    };
    let binary = arguments.veltrix.clone().map_or_else(beside, Ok)?;
    let binary = std::fs::canonicalize(&binary).with_context(|| {
        format!(
            "{}: build it, or say where it is by --veltrix",
            binary.display()
        )
    })?;
    let named = format!("veltrix-crash-{}", std::process::id());
    let folder = arguments.folder.clone();
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join(named));
    std::fs::create_dir_all(&folder)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let (wiring, sync) = match arguments.run {
        Run::SinkDown { .. } => (Wiring::Neighbours, None),
        // Else a file sink's events are done once a second, and come again after a kill.
        Run::Power { .. } | Run::Kill { .. } => (Wiring::Usual, Some("always".to_owned())),
        _ => (Wiring::Usual, None),
    };
    let wiring = match arguments.received {
        true => Wiring::Received,
        false => wiring,
    };
    Ok(Ground {
        binary,
        folder: std::fs::canonicalize(folder)?,
        seed: arguments
            .seed
            .unwrap_or(now.as_micros() as u64 % 1_000_000_000),
        setup: Setup {
            wiring,
            durability: arguments.durability,
            file_sync: arguments.file_sync.clone().or(sync),
            segment_bytes: arguments.segment << 10,
            retain_bytes: arguments.retain << 10,
            drain: Duration::from_secs(60),
        },
        load: Load {
            clients: arguments.clients,
            keys: arguments.keys,
            payload_bytes: arguments.payload,
            pause: Duration::from_millis(arguments.pause),
        },
        keeps_folders: arguments.keep,
        is_talkative: true,
    })
}
