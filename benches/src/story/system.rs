//! The systems, and how each is put together from processes.

use std::net::{SocketAddr, TcpListener};

use super::events::{COMPONENTS, Events};
use super::frame::Frame;
use super::peer::Peer;
use super::play::Ends;
use super::process::{Place, Process};
use super::programs::Programs;
use super::receiver::{Form, Receiver};
use super::setting::Setting;
use super::source::Source;
use super::wiring::Wiring;

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
    Peer(Peer),
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
            Self::Peer(peer) => peer.name(),
        }
    }

    /// Whether it is made of components that each are a process.
    pub(crate) fn has_components(self) -> bool {
        !self.is_veltrix() && !matches!(self, Self::Peer(_))
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
        let form = match setting.fault.is_over_http() {
            true => Form::Requests,
            false if setting.is_passing => Form::Passed,
            false => Form::Lines,
        };
        let mut ends = Ends::new(source, form)?;
        let from = ends.source.address()?;
        let sinks: Vec<SocketAddr> = ends.receivers.iter().map(Receiver::address).collect();
        let wiring = Wiring {
            programs,
            events,
            setting,
            folder: place.folder,
            source: from,
            sinks: &sinks,
        };
        let mut processes = Vec::new();
        if let Some(centre) = wiring.centre(self)? {
            processes.push(Process::start(centre, place)?);
        }
        if self.has_components() {
            if self.has_centre() {
                await_listener(from, &mut processes[0])?;
            }
            for component in 0..sinks.len() {
                let program = wiring.component(self, component);
                processes.push(Process::start(program, place)?);
            }
        }
        ends.connect(events, !self.has_components(), || {
            processes.iter_mut().try_for_each(Process::check)
        })?;
        Ok(Running { ends, processes })
    }
}

/// An address that nobody uses at this moment, and nobody will: ports for connections are taken at 127.0.0.1, so that
/// neither another one's nor our own attempt to connect can have it before the system listens.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.2:0")?.local_addr()
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
