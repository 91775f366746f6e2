//! An image of a container: its image's layers, and one more of what it changed.
//!
//! ```text
//!   diff of the upper ──> pieces, by path ──> each read as the union shows it ──> tar ──> layer
//! ```
//!
//! The cost is that of what changed. A container that runs is frozen meanwhile, unless that is not wanted.

use super::client::Control;
use super::directory::Directory;
use super::files::Files;
use super::home::{Home, Settled};
use super::plan;
use super::spec::Spec;
use super::state::Status;
use crate::error::{Error, Result};
use crate::image::{
    Config, History, ImageId, LOOSE, Limits, OciConfig, Reference, Store, archive_pieces,
};
use crate::types::Moment;

/// What is said of the new image.
#[derive(Debug, Default)]
pub struct Commit<'a> {
    /// Its name.
    pub name: Option<&'a Reference>,
    /// By whom.
    pub author: &'a str,
    /// Why.
    pub message: &'a str,
    /// A container that runs is frozen while it is read.
    pub pause: bool,
}

impl Commit<'_> {
    /// Makes the image, its settings as `change` leaves them. The caller is single-threaded, and afterwards
    /// maybe in a mount namespace of its own.
    ///
    /// # Errors
    /// A container of no stored image; what `change` refuses; what cannot be read or written. Nothing is
    /// published.
    pub fn make(
        &self,
        home: &Home,
        directory: &Directory,
        change: impl FnOnce(&mut Config) -> Result<()>,
    ) -> Result<ImageId> {
        let spec = directory.spec()?;
        let store = Store::open(home.root())?;
        let held = store.hold_lowers(&spec.lowers)?;
        let Some(held) = held else {
            let (short, image) = (directory.id().short(), &spec.image);
            return Err(Error::Refused(format!(
                "container {short}: its image {image} is not in the store, so there are no layers to build \
                 on; runner export it and runner import that"
            )));
        };
        let mut config = self.config(&store, &spec);
        change(&mut config.config)?;
        let frozen = match home.settle(directory)? {
            Settled::Alive(state) if self.pause && state.status == Status::Running => {
                let control = Control::connect(directory)?;
                control.pause()?;
                Some(control)
            }
            _ => None,
        };
        let added = layer(home, directory, &spec, &store);
        if let Some(control) = frozen {
            control.unpause()?;
        }
        let added = added?;
        let mut diff_ids: Vec<String> = held.iter().map(|layer| layer.diff_id.clone()).collect();
        diff_ids.push(added.layer.diff_id.clone());
        store.merge(&diff_ids, LOOSE)?;
        let id = store.create_image(config, &diff_ids)?;
        if let Some(name) = self.name {
            store.tag(&id, name)?;
        }
        Ok(id)
    }

    /// The image's configuration, with the container's command.
    fn config(&self, store: &Store, spec: &Spec) -> OciConfig {
        let image = spec.image_id.as_deref().and_then(|id| store.find(id).ok());
        let mut config = image.map_or_else(OciConfig::new, |record| record.config);
        let created = Some(Moment::now().to_string());
        config.created.clone_from(&created);
        config.author = self.author.to_owned();
        let (start, command) = (&mut config.config, &spec.command);
        start.entrypoint.clone_from(&command.entrypoint);
        start.cmd.clone_from(&command.cmd);
        start.user.clone_from(&command.user);
        start.working_dir = match command.cwd.to_string_lossy() {
            root if root == "/" => String::new(),
            other => other.into_owned(),
        };
        start.labels.clone_from(&spec.labels);
        // These are each container's own.
        let own = |name: &str| matches!(name, "HOSTNAME" | "TERM" | "HOME");
        let env = command.env.iter().filter(|(name, _)| !own(name));
        start.env = env.map(|(name, value)| format!("{name}={value}")).collect();
        config.history.push(History {
            created,
            created_by: command.args().join(" "),
            author: self.author.to_owned(),
            comment: self.message.to_owned(),
            ..History::default()
        });
        config
    }
}

/// The layer of what a container changed.
///
/// # Errors
/// What cannot be read or written.
pub fn layer(
    home: &Home,
    directory: &Directory,
    spec: &Spec,
    store: &Store,
) -> Result<crate::image::Added> {
    let files = Files::open(home, directory)?;
    let short = directory.id().short();
    let origin = format!("commit {short}");
    let made = (|| {
        let pieces = plan::union(spec, directory).pieces();
        let refused = |why| Error::Refused(format!("container {short}: {why}"));
        let pieces = pieces.map_err(refused)?;
        Ok(store.add_written(&origin, Limits::default(), |to| {
            archive_pieces(files.root(), &pieces, &origin, to)
        })?)
    })();
    files.close()?;
    made
}
