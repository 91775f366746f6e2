//! `runner commit`: an image of what a container has changed.

use super::output;
use crate::build::changes::Changes;
use crate::container::commit::Commit;
use crate::error::Result;
use crate::image::Reference;
use std::path::Path;

/// Arguments of `commit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The new image has the layers of the container's image and one more, of what the container changed;
what is in volumes is not in it.

Examples:
  runner commit web web:snapshot
  runner commit -a 'Jo <jo@example.org>' -m 'with vim' web debian:vim
  runner commit -c 'CMD [\"nginx\", \"-g\", \"daemon off;\"]' -c 'EXPOSE 80' web nginx"
)]
pub(super) struct Args {
    /// Who made the image
    #[arg(short, long, value_name = "NAME", default_value = "")]
    author: String,
    /// Apply this instruction of a Dockerfile to the image's settings, as CMD, ENV, EXPOSE, USER; may be repeated
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Say this in the image's history
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Freeze the container meanwhile, if it runs
    #[arg(short, long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// Name or id of a container
    container: String,
    /// The name to give to the image: NAME[:TAG]
    name: Option<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let name: Option<Reference> = args.name.as_deref().map(str::parse).transpose()?;
    let changes = Changes::parse(&args.change)?;
    let directory = home.find(&args.container)?;
    let commit = Commit {
        name: name.as_ref(),
        author: &args.author,
        message: &args.message,
        pause: args.pause,
    };
    let id = commit.make(&home, &directory, |config| changes.apply(config))?;
    output::print(&format_args!("sha256:{id}\n"))
}
