//! Where a component's events come from: the source itself, or a broker.

mod direct;
mod nats;
mod redis;

use std::net::SocketAddr;

use crate::component::Component;
use crate::plant::Plant;
use crate::work::WorkOptions;

/// Bytes that a component takes at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// How events come to a component, as arguments of its process.
#[derive(Debug, clap::Args)]
pub struct ComponentOptions {
    /// Where events come from.
    #[arg(long)]
    feed: Feed,
    /// The source's or the broker's address, as IP:port.
    #[arg(long)]
    from: SocketAddr,
    /// What it subscribes to: event types at the source, groups of types at a broker.
    #[arg(long, value_delimiter = ',')]
    subscribe: Vec<String>,
    /// Where results go, as IP:port.
    #[arg(long)]
    sink: SocketAddr,
    /// Results are posted, one in a request, instead of written one a line.
    #[arg(long)]
    http: bool,
    /// What it does wrong on purpose.
    #[arg(long, default_value = "none")]
    plant: Plant,
    #[command(flatten)]
    work: WorkOptions,
}

/// Where events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Feed {
    /// The source, which sends what the component subscribes to.
    Direct,
    /// The source, which sends everything.
    DirectUnfiltered,
    /// NATS, from memory.
    Nats,
    /// NATS's JetStream, from its files.
    Jetstream,
    /// Redis's channels, from memory.
    Redis,
    /// Redis's streams, from its log.
    RedisStreams,
}

impl ComponentOptions {
    /// Runs the component until its feed ends.
    ///
    /// # Errors
    /// If the feed or the sink cannot be reached.
    pub async fn run(&self) -> anyhow::Result<()> {
        match self.feed {
            Feed::Direct | Feed::DirectUnfiltered => direct::run(self).await,
            Feed::Nats => nats::run(self).await,
            Feed::Jetstream => nats::run_jetstream(self).await,
            Feed::Redis => redis::run(self).await,
            Feed::RedisStreams => redis::run_streams(self).await,
        }
    }

    async fn component(&self) -> anyhow::Result<Component> {
        Component::connect((self.sink, self.http), &self.work, self.plant).await
    }
}
