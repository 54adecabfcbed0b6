//! The `service` section: the process as a whole.

use std::{
    borrow::Cow,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

use super::{
    bounded::WholeNumber,
    names,
    path::KeyPath,
    problems::Reporter,
    units::{ByteSize, DurationText},
};

/// Threads for handlers and sinks at most.
const MAX_WORKERS: usize = 1024;

/// The least memory budget: one batch for each of a few hops.
const MIN_MEMORY: usize = 1 << 20;

/// How often a result may go round through the router.
type Hops = WholeNumber<1, 1000>;

const DEFAULT_HOPS: Hops = match Hops::new(16) {
    Some(hops) => hops,
    None => panic!("within the limits"),
};

/// The process as a whole.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawService {
    /// The name that results carry in their `source`: `/veltrix/<name>/<handler>`.
    name: String,
    /// The directory for all that is kept on disk, locked by the running process. Created when missing.
    data_dir: PathBuf,
    /// How long a drain may take before the process gives up and exits with 1.
    drain_timeout: DurationText,
    /// Threads for handlers and sinks: `auto` (one for each core) or a number up to 1024.
    workers: Workers,
    /// The budget for event bytes in memory, at least 1MiB; beyond it sources wait.
    memory: ByteSize,
    /// How often a result may go round through the router before it is a dead letter: 1 to 1000.
    max_hops: Hops,
    /// The server for `/livez`, `/readyz`, `/metrics` and `/api`; without it there is none.
    admin: Option<RawAdmin>,
}

/// The admin server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawAdmin {
    /// The address to listen on, such as `127.0.0.1:8686`; loopback only.
    listen: String,
}

impl Default for RawService {
    fn default() -> Self {
        Self {
            name: "veltrix".to_owned(),
            data_dir: PathBuf::from("./data"),
            drain_timeout: DurationText(Duration::from_secs(10)),
            workers: Workers::Auto,
            memory: ByteSize(256 << 20),
            max_hops: DEFAULT_HOPS,
            admin: None,
        }
    }
}

/// The process as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Part of the `source` of results.
    pub name: String,
    /// The directory for all that is kept on disk.
    pub data_dir: PathBuf,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Threads for handlers and sinks.
    pub workers: Workers,
    /// The budget for event bytes in memory, in bytes.
    pub memory: usize,
    /// How often a result may go round through the router.
    pub max_hops: u16,
    /// The admin server, if there shall be one.
    pub admin: Option<AdminConfig>,
}

/// The admin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// A loopback address; port 0 lets the system choose.
    pub listen: SocketAddr,
}

/// Threads for handlers and sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One for each core.
    Auto,
    /// So many, 1 to 1024.
    Count(usize),
}

impl Workers {
    /// How many threads that is on this machine.
    pub fn count(self) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Auto => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MAX_WORKERS),
        }
    }
}

impl RawService {
    /// Reports all that cannot be.
    pub(crate) fn validate(self, reporter: &Reporter) -> ServiceConfig {
        let path = KeyPath::of(["service"]);
        if let Err(why) = names::check(&self.name) {
            reporter.value(
                &path.key("name"),
                format!("`service.name`: `{}` {why}", self.name),
                None,
            );
        }
        if self.drain_timeout.0.is_zero() {
            reporter.value(
                &path.key("drain_timeout"),
                "`service.drain_timeout` must be more than zero",
                None,
            );
        }
        if self.memory.0 < MIN_MEMORY {
            let (found, least) = (self.memory, ByteSize(MIN_MEMORY));
            let message = format!("`service.memory` must be at least {least}, not {found}");
            reporter.value(&path.key("memory"), message, None);
        }
        if self.data_dir.as_os_str().is_empty() {
            reporter.value(
                &path.key("data_dir"),
                "`service.data_dir` must not be empty",
                None,
            );
        }
        ServiceConfig {
            name: self.name,
            data_dir: self.data_dir,
            drain_timeout: self.drain_timeout.0,
            workers: self.workers,
            memory: self.memory.0,
            max_hops: u16::try_from(self.max_hops.get()).expect("its type keeps it below 1001"),
            admin: self
                .admin
                .and_then(|admin| admin.validate(&path.key("admin").key("listen"), reporter)),
        }
    }
}

impl RawAdmin {
    fn validate(self, path: &KeyPath, reporter: &Reporter) -> Option<AdminConfig> {
        let Some(listen) = address(&self.listen) else {
            let message = format!("`{path}`: `{}` is not an address and port", self.listen);
            reporter.value(
                path,
                message,
                Some("write `127.0.0.1:8686`, `localhost:8686` or `[::1]:8686`".to_owned()),
            );
            return None;
        };
        if !listen.ip().is_loopback() {
            let message = format!(
                "`{path}`: the admin server may only listen on loopback, not on {}",
                listen.ip()
            );
            let help = format!(
                "write `127.0.0.1:{}`; this version has no access control for other addresses",
                listen.port()
            );
            reporter.value(path, message, Some(help));
        }
        Some(AdminConfig { listen })
    }
}

/// An IP address (or `localhost`) and a port.
pub(crate) fn address(text: &str) -> Option<SocketAddr> {
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?)));
    }
    text.parse().ok()
}

struct WorkersVisitor;

impl Visitor<'_> for WorkersVisitor {
    type Value = Workers;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "`auto` or a number of threads from 1 to {MAX_WORKERS}"
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
        match text {
            "auto" => Ok(Workers::Auto),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Workers, E> {
        match usize::try_from(number) {
            Ok(count @ 1..=MAX_WORKERS) => Ok(Workers::Count(count)),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WorkersVisitor)
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u64(*count as u64),
        }
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": MAX_WORKERS }] })
    }
}
