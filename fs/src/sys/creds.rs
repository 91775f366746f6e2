//! Creating files as the caller in one system call, without losing our own capabilities.
//!
//! A new object must have its owner from the first moment (a crash between `mkdir` and `chown` would
//! leave it root's), and permission was checked by the kernel already, so we must not be refused.
//! Setting the file system ids does the first; `SECBIT_NO_SETUID_FIXUP`, set once per thread, keeps the
//! capabilities that setfsuid(2) would else take away (capabilities(7)).

use std::cell::Cell;
use std::sync::OnceLock;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::thread::{
    CapabilitiesSecureBits, capabilities_secure_bits, set_capabilities_secure_bits,
};

thread_local! {
    static KEEPS_CAPABILITIES: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread creates files as the given ids. Dropping it takes ours back.
#[derive(Debug)]
pub struct ActingAs {
    own: Option<(Uid, Gid)>,
}

impl ActingAs {
    /// Takes the file system ids of the caller. Our own are those of the first call: a process that
    /// serves does not change them.
    pub fn new(uid: u32, gid: u32) -> Self {
        static OWN: OnceLock<(Uid, Gid)> = OnceLock::new();
        let own = *OWN.get_or_init(|| (Uid::effective(), Gid::effective()));
        if (own.0.as_raw(), own.1.as_raw()) == (uid, gid) {
            return Self { own: None };
        }
        keep_capabilities();
        setfsgid(Gid::from_raw(gid));
        setfsuid(Uid::from_raw(uid));
        Self { own: Some(own) }
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.own {
            setfsuid(uid);
            setfsgid(gid);
        }
    }
}

/// Once per thread. Without CAP_SETPCAP it fails and creations are checked as the caller: the
/// unprivileged case, in which all ids are one anyway.
fn keep_capabilities() {
    KEEPS_CAPABILITIES.with(|done| {
        if !done.replace(true)
            && let Ok(bits) = capabilities_secure_bits()
        {
            let bits = bits | CapabilitiesSecureBits::NO_SETUID_FIXUP;
            if let Err(error) = set_capabilities_secure_bits(bits) {
                tracing::debug!(%error, "creating files with the caller's own permissions");
            }
        }
    });
}
