//! System calls that std, rustix and nix lack or leave raw, and thin safe wrappers over them.
//!
//! ```text
//!   at          an object's address (dirfd + name, or an O_PATH fd) and everything done to it
//!   creds       create files as somebody else without losing our capabilities
//!   fdcache     a bounded cache of directory fds
//!   filesystem  what a file system below promises
//!   flags       the chattr ioctls
//!   lock        the locks, which a test can put under a scheduler
//!   map         a mapping that survives a cut file
//!   mounts      a private read-only clone of a layer's mount
//!   pieces      the data of a file, which may lie in pieces of another
//!   xattr       extended attributes by directory and name
//! ```
//!
//! Every `unsafe` block of the crate's lower floors is here.

pub mod at;
pub mod creds;
pub mod fdcache;
pub mod filesystem;
pub mod flags;
pub mod lock;
pub mod map;
pub mod mounts;
pub mod pieces;
mod xattr;
