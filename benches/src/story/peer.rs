//! Peers by name: programs that others use for this, with configs that do what Veltrix's does: `benches/peers/`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::events::groups_of;
use super::wiring::Wiring;

/// A program that can be compared by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// Vector.
    Vector,
    /// syslog-ng.
    SyslogNg,
}

/// What `--peer NAME=PATH` says.
#[derive(Clone, Debug)]
pub(crate) struct PeerProgram {
    pub(crate) peer: Peer,
    pub(crate) path: PathBuf,
}

impl std::str::FromStr for PeerProgram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text
            .split_once('=')
            .ok_or("write `NAME=PATH`, such as `vector=/usr/bin/vector`")?;
        Ok(Self {
            peer: Peer::from_str(name, false)?,
            path: PathBuf::from(path),
        })
    }
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::SyslogNg => "syslog-ng",
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::Vector => include_str!("../../peers/vector.yaml"),
            Self::SyslogNg => include_str!("../../peers/syslog-ng.conf"),
        }
    }

    /// What its config promises of what it has taken: the comment at the config's head.
    pub(crate) fn promise(self) -> &'static str {
        let comments = self
            .template()
            .lines()
            .filter_map(|line| line.strip_prefix("# "));
        comments.into_iter().next().unwrap_or_default()
    }

    pub(crate) fn config_name(self) -> &'static str {
        match self {
            Self::Vector => "vector.yaml",
            Self::SyslogNg => "syslog-ng.conf",
        }
    }

    pub(crate) fn arguments(self, config: &Path, folder: &Path) -> Vec<String> {
        let in_folder = |name: &str| folder.join(name).display().to_string();
        let config = config.display().to_string();
        match self {
            Self::Vector => vec!["--quiet".to_owned(), "--config".to_owned(), config],
            Self::SyslogNg => vec![
                "--foreground".to_owned(),
                format!("--cfgfile={config}"),
                format!("--persist-file={}", in_folder("persist")),
                format!("--control={}", in_folder("control")),
                format!("--pidfile={}", in_folder("pid")),
            ],
        }
    }

    /// The config of one run.
    pub(crate) fn config(self, wiring: &Wiring<'_>) -> String {
        let Wiring {
            events,
            folder,
            source,
            sinks,
            ..
        } = wiring;
        let mut config = String::new();
        for line in self.template().lines() {
            let times = match line.contains("{component}") {
                true => sinks.len(),
                false => 1,
            };
            for (component, sink) in sinks.iter().enumerate().take(times) {
                let types: Vec<&str> = groups_of(component, wiring.setting.fan_out)
                    .flat_map(|group| events.groups[group].iter().map(String::as_str))
                    .collect();
                let filled = line
                    .replace("{folder}", &folder.display().to_string())
                    .replace("{source_port}", &source.port().to_string())
                    .replace("{component}", &component.to_string())
                    .replace("{sink_port}", &sink.port().to_string())
                    .replace("{types_quoted}", &format!("\"{}\"", types.join("\", \"")))
                    .replace("{types_pattern}", &types.join("|").replace('.', "\\\\."));
                config.push_str(&filled);
                config.push('\n');
            }
        }
        config
    }
}

/// What a peer calls itself, its version with it.
///
/// # Errors
/// If it does not start.
pub(crate) fn version(program: &PeerProgram) -> anyhow::Result<String> {
    let mut command = std::process::Command::new(&program.path);
    let output = command.arg("--version").output();
    let output = output.with_context(|| format!("starting {}", program.path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    Ok(format!("{first}: {}", program.peer.promise()))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::story::events::Events;
    use crate::story::programs::Programs;
    use crate::story::setting::Setting;

    #[test]
    fn every_line_of_a_component_comes_once_for_each() {
        let events = Events::load(None).unwrap();
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let sinks: Vec<SocketAddr> = (1..=6).map(address).collect();
        let wiring = Wiring {
            programs: &Programs::default(),
            events: &events,
            setting: &Setting::of_one_round(),
            folder: Path::new("/f"),
            source: address(99),
            sinks: &sinks,
        };
        for peer in Peer::value_variants() {
            let config = peer.config(&wiring);
            for port in [99, 1, 6] {
                assert!(config.contains(&port.to_string()), "{config}");
            }
            assert_eq!(
                config.matches("s5").count(),
                peer.template().matches("s{component}").count()
            );
            let types = events.groups.iter().flatten();
            let named = types.filter(|name| {
                config.contains(&name.replace('.', "\\\\."))
                    || config.contains(&format!("\"{name}\""))
            });
            assert_eq!(named.count(), 12);
            assert!(!peer.promise().is_empty());
        }
    }

    #[test]
    fn a_peer_is_given_by_name_and_path() {
        let program: PeerProgram = "vector=/v/vector".parse().unwrap();
        assert_eq!(
            (program.peer, program.path),
            (Peer::Vector, PathBuf::from("/v/vector"))
        );
        assert!("logstash=/l".parse::<PeerProgram>().is_err());
        assert!("vector".parse::<PeerProgram>().is_err());
    }
}
