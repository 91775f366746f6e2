//! The flags that are about volumes and temporary file systems.

use super::Args;
use crate::container::home::Home;
use crate::container::volume::{self, Mount, Tmpfs, Volume, Wanted};
use crate::error::Result;
use crate::image::Config;
use std::path::Path;

/// What the flags ask for; nothing is made yet.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) wanted: Vec<Wanted>,
    pub(super) tmpfs: Vec<Tmpfs>,
    /// Those of other containers.
    pub(super) others: Vec<Volume>,
}

/// Reads all of `-v`, `--mount`, `--tmpfs` and `--volumes-from`. What is asked for by name wins over
/// what another container has at the same place, the later container over the earlier, and all of
/// them over the anonymous volumes that the image asks for.
pub(super) fn mounts(args: &Args, image: &Config, home: &Home) -> Result<Mounts> {
    let mut mounts = Mounts::default();
    for text in &args.volume {
        mounts.wanted.push(Wanted::parse(text)?);
    }
    for text in &args.tmpfs {
        mounts.tmpfs.push(Tmpfs::parse(text)?);
    }
    for text in &args.mount {
        match Mount::parse(text)? {
            Mount::Volume(wanted) => mounts.wanted.push(wanted),
            Mount::Tmpfs(tmpfs) => mounts.tmpfs.push(tmpfs),
        }
    }
    volume::check_targets(mounts.targets())?;
    for text in &args.volumes_from {
        let (container, read_only) = volume::volumes_from(text)?;
        for mut volume in home.find(container)?.spec()?.volumes {
            volume.read_only = read_only.unwrap_or(volume.read_only) || volume.read_only;
            mounts.others.retain(|other| other.target != volume.target);
            if !mounts.targets().any(|target| target == volume.target) {
                mounts.others.push(volume);
            }
        }
    }
    for text in image.volumes.keys() {
        let wanted = Wanted::parse(text)?;
        let others = mounts.others.iter().map(|volume| volume.target.as_path());
        if !mounts
            .targets()
            .chain(others)
            .any(|target| target == wanted.target)
        {
            mounts.wanted.push(wanted);
        }
    }
    Ok(mounts)
}

impl Mounts {
    fn targets(&self) -> impl Iterator<Item = &Path> {
        let wanted = self.wanted.iter().map(|wanted| wanted.target.as_path());
        wanted.chain(self.tmpfs.iter().map(|tmpfs| tmpfs.target.as_path()))
    }
}
