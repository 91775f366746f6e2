//! System calls that std, rustix and nix lack, or offer only as unsafe; thin, and nothing else.
//!
//! ```text
//!   process ── clone3 into namespaces, fork, close_range, signal dispositions, keyring
//!   mount   ── mount_setattr, and the new mount API as few words
//!   channel ── typed messages and descriptors over a socket pair
//!   program ── the runner's own program, so that no container can write to it
//! ```

#![allow(unsafe_code)]

pub mod channel;
pub mod mount;
pub mod process;
pub mod program;
