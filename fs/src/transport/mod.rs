//! The only code that knows FUSE.
//!
//! ```text
//!   serve ─ stop (signals)
//!     │
//!   session ──> mount, table (mount(2), the table of mounts), init (the handshake)
//!     │
//!     ├──> device   messages over /dev/fuse ──┐
//!     │                                       ├─ decode ─> Request ─> dispatch ─> ops
//!     └──> rings    messages over io_uring ───┘                           │
//!            └─ pool (what would make a ring wait)       policy, ioctl, encode, errno
//!
//!   stats (counters of every request)
//!   abi (the kernel's structs)   sys (system calls that need `unsafe`)   background (fork, report)
//! ```
//!
//! Both carriers bring the same bytes and give back the same bytes; between them stands one
//! translation, [`dispatch`].
//!
//! For a program that carries a layerfs in itself: open a [`crate::ops::FileSystem`], call
//! [`prepare_process`] once, then [`serve`] in a thread of its own; [`unmount`] from anywhere ends
//! it.

mod abi;
mod background;
mod decode;
mod device;
mod dispatch;
mod encode;
mod errno;
mod init;
mod ioctl;
mod mount;
mod policy;
mod pool;
mod request;
mod rings;
mod serve;
mod session;
mod stats;
mod stop;
mod sys;
mod table;

pub use background::{Report, Side, background};
pub use mount::{
    FOREVER, Io, MountError, MountOptions, Transport, UnmountError, check_mountpoint, remount,
    stats, unmount,
};
pub use rings::NoRings;
pub use serve::{ServeError, prepare_process, serve};
pub use stats::{Operation, Statistics};
