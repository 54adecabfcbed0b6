//! What the processes of a system are told: brokers, peers and Veltrix, and the components.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;

use super::events::{Events, groups_of};
use super::peer::Peer;
use super::process::Program;
use super::programs::Programs;
use super::setting::{Fault, Setting};
use super::system::System;
use super::veltrix_config;

/// Where everything is, for one run.
pub(crate) struct Wiring<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) events: &'a Events,
    pub(crate) setting: &'a Setting,
    pub(crate) folder: &'a Path,
    /// Where events come from: the source itself, or what everything goes through.
    pub(crate) source: SocketAddr,
    pub(crate) sinks: &'a [SocketAddr],
}

impl Wiring<'_> {
    /// One of the components.
    pub(crate) fn component(&self, system: System, index: usize) -> Program {
        let feed = match system {
            System::ANaive => "direct-unfiltered",
            System::BNats => "nats",
            System::BJetstream => "jetstream",
            System::BRedis => "redis",
            System::BRedisStreams => "redis-streams",
            _ => "direct",
        };
        let setting = self.setting;
        let groups = groups_of(index, setting.fan_out);
        let subscribe: Vec<String> = match system.has_centre() {
            true => groups.map(|group| group.to_string()).collect(),
            false => groups
                .flat_map(|group| self.events.groups[group].clone())
                .collect(),
        };
        let plant = setting.plant.to_possible_value();
        let plant = plant.expect("every plant has a name");
        let options = [
            ("--plant", plant.get_name().to_owned()),
            ("--feed", feed.to_owned()),
            ("--from", self.source.to_string()),
            ("--subscribe", subscribe.join(",")),
            ("--sink", self.sinks[index].to_string()),
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
        let options = options.into_iter();
        let mut arguments: Vec<String> = options
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        if setting.fault.is_over_http() {
            arguments.push("--http".to_owned());
        }
        Program {
            name: format!("c{index}"),
            path: self.programs.component.clone(),
            arguments,
            is_countable: true,
        }
    }

    /// What everything goes through, if there is such a process.
    ///
    /// # Errors
    /// If its config cannot be written.
    pub(crate) fn centre(&self, system: System) -> anyhow::Result<Option<Program>> {
        Ok(Some(match system {
            System::ATuned | System::ATunedAgain | System::ANaive => return Ok(None),
            System::BNats => self.nats(&[]),
            System::BJetstream => {
                let folder = self.folder.display().to_string();
                self.nats(&["-js", "-sd", &folder])
            }
            System::BRedis => self.redis("no"),
            System::BRedisStreams => self.redis("yes"),
            System::C | System::CMemory | System::CNoRetries | System::CNoMetrics => {
                self.veltrix(system)?
            }
            System::Peer(peer) => self.peer(peer)?,
        }))
    }

    fn nats(&self, more: &[&str]) -> Program {
        let (ip, port) = (self.source.ip().to_string(), self.source.port().to_string());
        let arguments = [&["-a", &ip, "-p", &port], more].concat();
        Program {
            name: "nats-server".to_owned(),
            path: self.programs.nats.clone(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            is_countable: false,
        }
    }

    fn redis(&self, appendonly: &str) -> Program {
        let options = [
            ("--port", self.source.port().to_string()),
            ("--bind", self.source.ip().to_string()),
            ("--dir", self.folder.display().to_string()),
            ("--save", String::new()),
            ("--appendonly", appendonly.to_owned()),
            ("--appendfsync", "always".to_owned()),
            ("--loglevel", "warning".to_owned()),
            // More than its default, after which it gives slow components up.
            (
                "--client-output-buffer-limit",
                "pubsub 256mb 128mb 60".to_owned(),
            ),
        ];
        let options = options.into_iter();
        Program {
            name: "redis-server".to_owned(),
            path: self.programs.redis.clone(),
            arguments: options
                .flat_map(|(name, value)| [name.to_owned(), value])
                .collect(),
            is_countable: false,
        }
    }

    fn veltrix(&self, system: System) -> anyhow::Result<Program> {
        let path = self.folder.join("veltrix.yaml");
        fs::write(&path, veltrix_config::yaml(system, self))?;
        let path = path.display().to_string();
        let mut arguments = vec!["run", "-c", &path, "--log-level", "error"];
        if self.setting.fault == Fault::KillComponent {
            arguments.push("--allow-faults");
        }
        Ok(Program {
            name: "veltrix".to_owned(),
            path: self.programs.veltrix.clone(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            is_countable: true,
        })
    }

    fn peer(&self, peer: Peer) -> anyhow::Result<Program> {
        let path = self.folder.join(peer.config_name());
        fs::write(&path, peer.config(self))?;
        Ok(Program {
            name: peer.name().to_owned(),
            path: self.programs.path_of(peer),
            arguments: peer.arguments(&path, self.folder),
            is_countable: false,
        })
    }
}
