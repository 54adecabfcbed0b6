//! The programs that systems are made of: those built beside this one, and the brokers of the machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::peer::{self, Peer, PeerProgram};
use super::system::System;

/// Where each program is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programs {
    pub(crate) component: PathBuf,
    pub(crate) veltrix: PathBuf,
    pub(crate) nats: PathBuf,
    pub(crate) redis: PathBuf,
    pub(crate) peers: Vec<PeerProgram>,
}

impl Programs {
    /// Those in `folder`; without it those beside this program, which are built first if `cargo run` started it.
    ///
    /// # Errors
    /// If they are not there and cannot be built.
    pub(crate) fn find(folder: Option<&Path>, peers: Vec<PeerProgram>) -> anyhow::Result<Self> {
        let this = env::current_exe()?;
        let folder = match folder {
            Some(folder) => folder,
            None => {
                let beside = this.parent().context("this program is in a folder")?;
                if let Some(cargo) = env::var_os("CARGO") {
                    build(Path::new(&cargo), beside)?;
                }
                beside
            }
        };
        let programs = Self {
            component: folder.join("story-component"),
            veltrix: folder.join("story-veltrix"),
            nats: on_path("nats-server"),
            redis: on_path("redis-server"),
            peers,
        };
        for program in [&programs.component, &programs.veltrix] {
            if !program.is_file() {
                bail!(
                    "{} is not there: build it with `cargo build --release -p veltrix-bench --bins`",
                    program.display()
                );
            }
        }
        Ok(programs)
    }

    /// Whether this machine has what a system needs.
    pub(crate) fn has(&self, system: System) -> bool {
        match system {
            System::BNats | System::BJetstream => version(&self.nats).is_some(),
            System::BRedis | System::BRedisStreams => version(&self.redis).is_some(),
            _ => true,
        }
    }

    /// The versions of all of them.
    ///
    /// # Errors
    /// If a peer does not start.
    pub(crate) fn versions(&self) -> anyhow::Result<Vec<String>> {
        let programs = [&self.veltrix, &self.nats, &self.redis];
        let own = programs.into_iter().filter_map(|program| version(program));
        let peers = self.peers.iter().map(peer::version);
        own.map(Ok).chain(peers).collect()
    }

    /// Where a peer is, which was given.
    pub(crate) fn path_of(&self, peer: Peer) -> PathBuf {
        let given = self.peers.iter().find(|program| program.peer == peer);
        given.map_or_else(PathBuf::new, |program| program.path.clone())
    }
}

/// Debian has servers in a folder that not every user's `PATH` has.
fn on_path(name: &str) -> PathBuf {
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).chain([PathBuf::from("/usr/sbin")]);
    let paths = found.map(|folder| folder.join(name));
    paths
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

fn version(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Builds them as this program was built. `cargo run` has built this one only.
fn build(cargo: &Path, beside: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--package",
        "veltrix-bench",
        "--bins",
        "--target-dir",
    ]);
    command.arg(
        beside
            .parent()
            .context("this program is in a target folder")?,
    );
    if beside.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    Ok(())
}
