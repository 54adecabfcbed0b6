//! The systems, and how each is put together from processes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use clap::ValueEnum;

use super::events::{COMPONENTS, Events, groups_of};
use super::frame::Frame;
use super::play::Ends;
use super::process::{Place, Process, Program};
use super::programs::Programs;
use super::receiver::Receiver;
use super::setting::{Fault, Setting};
use super::source::Source;
use super::veltrix_config;

/// Which system handles the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum System {
    ATuned,
    /// The same again, under another name: what differs between the two is noise.
    ATunedAgain,
    ANaive,
    BNats,
    BRedis,
    /// Veltrix without a journal: what is accepted lives as long as the process, as with the systems above.
    CMemory,
    BJetstream,
    BRedisStreams,
    /// Veltrix as shipped: with a journal.
    C,
    CNoRetries,
    CNoMetrics,
}

/// A system that runs.
pub(crate) struct Running {
    pub(crate) ends: Ends,
    /// The broker or Veltrix first, if there is one.
    pub(crate) processes: Vec<Process>,
}

impl System {
    pub(crate) const ALL: [Self; 10] = [
        Self::ATuned,
        Self::ANaive,
        Self::BNats,
        Self::BRedis,
        Self::CMemory,
        Self::BJetstream,
        Self::BRedisStreams,
        Self::C,
        Self::CNoRetries,
        Self::CNoMetrics,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ATuned => "A-tuned",
            Self::ATunedAgain => "A-tuned-again",
            Self::ANaive => "A-naive",
            Self::BNats => "B-nats",
            Self::BRedis => "B-redis",
            Self::BJetstream => "B-jetstream",
            Self::BRedisStreams => "B-redis-streams",
            Self::C => "C",
            Self::CMemory => "C-memory",
            Self::CNoRetries => "C-memory-no-retries",
            Self::CNoMetrics => "C-memory-no-metrics",
        }
    }

    /// Whether an accepted event outlives the process that accepted it.
    pub(crate) fn is_durable(self) -> bool {
        matches!(self, Self::BJetstream | Self::BRedisStreams | Self::C)
    }

    /// Whether it is made of components that each are a process.
    pub(crate) fn has_components(self) -> bool {
        !self.is_veltrix()
    }

    /// Whether everything goes through one process.
    pub(crate) fn has_centre(self) -> bool {
        !matches!(self, Self::ATuned | Self::ATunedAgain | Self::ANaive)
    }

    fn is_veltrix(self) -> bool {
        matches!(
            self,
            Self::C | Self::CMemory | Self::CNoRetries | Self::CNoMetrics
        )
    }

    /// Starts it, and waits until it is connected.
    ///
    /// # Errors
    /// If a program is missing or does not start.
    pub(crate) fn start(
        self,
        programs: &Programs,
        events: &Events,
        setting: &Setting,
        place: &Place<'_>,
    ) -> anyhow::Result<Running> {
        let free = free_address()?;
        let source = match self {
            Self::ATuned | Self::ATunedAgain | Self::ANaive => Source::direct()?,
            Self::BNats => Source::single(free, Frame::Nats),
            Self::BRedis => Source::single(free, Frame::Redis),
            Self::BJetstream => Source::single(free, Frame::Jetstream),
            Self::BRedisStreams => Source::single(free, Frame::RedisStream),
            Self::C => Source::single(free, Frame::AcknowledgedLine),
            _ => Source::single(free, Frame::Line),
        };
        let mut ends = Ends::new(source, setting.fault.is_over_http())?;
        let from = ends.source.address()?;
        let sinks: Vec<SocketAddr> = ends.receivers.iter().map(Receiver::address).collect();
        let mut processes = Vec::new();
        if let Some(centre) = self.centre(programs, events, setting, place.folder, from, &sinks)? {
            processes.push(Process::start(centre, place)?);
        }
        if self.has_components() {
            if self.has_centre() {
                await_listener(from, &mut processes[0])?;
            }
            for (index, sink) in sinks.iter().enumerate() {
                let program = self.component(programs, events, setting, index, from, *sink);
                processes.push(Process::start(program, place)?);
            }
        }
        ends.connect(events, self.is_veltrix(), || {
            processes.iter_mut().try_for_each(Process::check)
        })?;
        Ok(Running { ends, processes })
    }

    fn component(
        self,
        programs: &Programs,
        events: &Events,
        setting: &Setting,
        index: usize,
        from: SocketAddr,
        sink: SocketAddr,
    ) -> Program {
        let feed = match self {
            Self::ANaive => "direct-unfiltered",
            Self::BNats => "nats",
            Self::BJetstream => "jetstream",
            Self::BRedis => "redis",
            Self::BRedisStreams => "redis-streams",
            _ => "direct",
        };
        let groups = groups_of(index, setting.fan_out);
        let subscribe: Vec<String> = match self.has_centre() {
            true => groups.map(|group| group.to_string()).collect(),
            false => groups
                .flat_map(|group| events.groups[group].clone())
                .collect(),
        };
        let plant = setting.plant.to_possible_value();
        let plant = plant.expect("every plant has a name");
        let arguments = [
            ("--plant", plant.get_name().to_owned()),
            ("--feed", feed.to_owned()),
            ("--from", from.to_string()),
            ("--subscribe", subscribe.join(",")),
            ("--sink", sink.to_string()),
            ("--component", index.to_string()),
            ("--rounds", setting.rounds.to_string()),
            ("--wait-us", setting.wait_us.to_string()),
            (
                "--errors-per-10000",
                setting.fault.errors_per_10000().to_string(),
            ),
            (
                "--panics-per-10000",
                setting.fault.panics_per_10000().to_string(),
            ),
        ];
        let arguments = arguments.into_iter();
        let mut arguments: Vec<String> = arguments
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        if setting.fault.is_over_http() {
            arguments.push("--http".to_owned());
        }
        Program {
            name: format!("c{index}"),
            path: programs.component.clone(),
            arguments,
            is_countable: true,
        }
    }

    fn centre(
        self,
        programs: &Programs,
        events: &Events,
        setting: &Setting,
        folder: &Path,
        address: SocketAddr,
        sinks: &[SocketAddr],
    ) -> anyhow::Result<Option<Program>> {
        let (port, folder) = (address.port().to_string(), folder.display().to_string());
        let (name, path, arguments) = match self {
            Self::ATuned | Self::ATunedAgain | Self::ANaive => return Ok(None),
            Self::BNats => (
                "nats-server",
                &programs.nats,
                vec!["-a", "127.0.0.1", "-p", &port],
            ),
            Self::BJetstream => (
                "nats-server",
                &programs.nats,
                vec!["-a", "127.0.0.1", "-p", &port, "-js", "-sd", &folder],
            ),
            Self::BRedis | Self::BRedisStreams => {
                let appendonly = if self.is_durable() { "yes" } else { "no" };
                let arguments = [
                    [
                        "--port",
                        &port,
                        "--bind",
                        "127.0.0.1",
                        "--save",
                        "",
                        "--dir",
                        &folder,
                    ],
                    [
                        "--appendonly",
                        appendonly,
                        "--appendfsync",
                        "always",
                        "--loglevel",
                        "warning",
                        "--client-output-buffer-limit",
                        "pubsub 256mb 128mb 60",
                    ],
                ];
                ("redis-server", &programs.redis, arguments.concat())
            }
            Self::C | Self::CMemory | Self::CNoRetries | Self::CNoMetrics => {
                let path = Path::new(&folder).join("veltrix.yaml");
                fs::write(
                    &path,
                    veltrix_config::yaml(self, events, setting, Path::new(&folder), address, sinks),
                )?;
                let path = path.display().to_string();
                let mut arguments = vec![
                    "run".to_owned(),
                    "-c".to_owned(),
                    path,
                    "--log-level".to_owned(),
                    "error".to_owned(),
                ];
                if setting.fault == Fault::KillComponent {
                    arguments.push("--allow-faults".to_owned());
                }
                return Ok(Some(Program {
                    name: "veltrix".to_owned(),
                    path: programs.veltrix.clone(),
                    arguments,
                    is_countable: true,
                }));
            }
        };
        Ok(Some(Program {
            name: name.to_owned(),
            path: path.clone(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            is_countable: false,
        }))
    }
}

/// An address that nobody uses at this moment.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn await_listener(address: SocketAddr, process: &mut Process) -> anyhow::Result<()> {
    while std::net::TcpStream::connect(address).is_err() {
        process.check()?;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

const _: () = assert!(
    COMPONENTS <= 8,
    "a ledger has a byte of bits for each event"
);
