//! A file system of its own in an image file, whose power can be cut; and a small one in memory, which can be filled.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;

/// xfs refuses to be smaller than 300 MiB; the image is sparse.
const IMAGE_BYTES: u64 = 1 << 30;
/// What the file system of the image needs beside it.
const IMAGE_SLACK_BYTES: u64 = 16 << 20;

/// File systems that can be shut down under their users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileSystem {
    /// As `mkfs.xfs` makes it.
    Xfs,
    /// As `mkfs.ext4` makes it.
    Ext4,
}

impl fmt::Display for FileSystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
        })
    }
}

/// A mounted file system, which is gone with this value.
#[derive(Debug)]
pub struct Volume {
    image: Option<PathBuf>,
    mount: PathBuf,
    /// Where the image lies: in memory, so that a sync costs no more than it must. Unmounted after the image.
    _store: Option<Box<Volume>>,
}

impl Volume {
    /// Formats an image in `folder` and mounts it there. Needs root, a loop device, and the packages xfsprogs or e2fsprogs.
    pub fn image(folder: &Path, file_system: FileSystem) -> anyhow::Result<Self> {
        let store = Self::memory(folder, IMAGE_BYTES + IMAGE_SLACK_BYTES)?;
        let image = store.path().join(format!("{file_system}.img"));
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        let format = format!("mkfs.{file_system}");
        command(Command::new(&format).arg("-q").arg(&image))?;
        let mount = folder.join(file_system.to_string());
        std::fs::create_dir_all(&mount)?;
        let volume = Self {
            image: Some(image),
            mount,
            _store: Some(Box::new(store)),
        };
        volume.mount_image()?;
        // Whether the shutdown works here is to be known before anything relies on it.
        volume.cut()?;
        volume.restore()?;
        Ok(volume)
    }

    /// Mounts a file system of so many bytes in memory. Needs root.
    pub fn memory(folder: &Path, bytes: u64) -> anyhow::Result<Self> {
        let mount = folder.join("tmpfs");
        std::fs::create_dir_all(&mount)?;
        let size = format!("size={bytes}");
        command(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "crash"])
                .arg(&mount),
        )?;
        Ok(Self {
            image: None,
            mount,
            _store: None,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Cuts the power: what is not on the disk by now never will be, and every write fails.
    pub fn cut(&self) -> anyhow::Result<()> {
        command(
            Command::new("xfs_io")
                .args(["-x", "-c", "shutdown"])
                .arg(&self.mount),
        )
    }

    /// Mounts what is left after a cut. Nobody may use the volume any more.
    pub fn restore(&self) -> anyhow::Result<()> {
        command(Command::new("umount").arg(&self.mount))?;
        self.mount_image()
    }

    fn mount_image(&self) -> anyhow::Result<()> {
        let image = self
            .image
            .as_ref()
            .context("only an image is mounted again")?;
        command(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(image)
                .arg(&self.mount),
        )
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // After a failed run somebody may still use it; `-l` takes it away from the others at once.
        drop(command(Command::new("umount").arg("-l").arg(&self.mount)));
        if let Some(image) = &self.image {
            drop(std::fs::remove_file(image));
        }
    }
}

fn command(command: &mut Command) -> anyhow::Result<()> {
    let named = format!("{command:?}");
    let path = std::env::var("PATH").unwrap_or_default();
    let command = command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{named} cannot be started"))?;
    if !output.status.success() {
        bail!(
            "{named}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
