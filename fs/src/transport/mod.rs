//! The only code that knows FUSE.
//!
//! ```text
//!   serve ──> mount (mount(2), the table of mounts)
//!     │
//!     └─────> fuser session ──> device, requests (the adapter) ──> ops
//!                                  │
//!      answer (catch_unwind), errno (Error → errno), wire (attributes, times, numbers), ioctl
//!   background (fork, report)      sys (every `unsafe` of the transport)
//! ```
//!
//! For a program that carries a layerfs in itself: open a [`crate::ops::FileSystem`], call
//! [`prepare_process`] once, then [`serve`] in a thread of its own; [`unmount`] from anywhere ends
//! it.

mod answer;
mod background;
mod device;
mod errno;
mod ioctl;
mod mount;
mod requests;
mod serve;
mod sys;
mod table;
mod wire;

pub use background::{Report, Side, background};
pub use errno::errno;
pub use mount::{
    FOREVER, MountError, MountOptions, UnmountError, check_mountpoint, remount, unmount,
};
pub use serve::{ServeError, prepare_process, serve};
