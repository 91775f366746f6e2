//! Capability sets: named bits, docker's defaults, and how a process takes them on.
//!
//! ```text
//! default_container --adjust(--cap-add, --cap-drop)--> set
//!
//! in the child, as root:  drop_bounding ; [seccomp unless no_new_privs] ; setgroups, setresgid,
//!                         setresuid ; set(uid) ; [no_new_privs, seccomp] ; execve
//! ```
//!
//! The bounding set can only be lowered with CAP_SETPCAP, hence before the uid changes. setresuid
//! to a user other than root empties permitted, effective and ambient by itself, and that is what
//! such a user shall have (as with docker: capabilities come back only through setuid programs,
//! within the bounding set); so keepcaps is not needed. The inheritable set stays empty in all
//! cases: with it filled, a file's inheritable bits would give back what the user change took
//! (CVE-2022-24769). `set` lowers it explicitly, since the caller's may be anything.

use rustix::thread as sys;

/// Why a capability set could not be built or taken on.
#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    /// A name that this program does not know.
    #[error("capability {name:?}: unknown; names are like NET_ADMIN or CAP_NET_ADMIN, or ALL")]
    Unknown {
        /// As given.
        name: String,
    },
    /// The kernel refused.
    #[error("capabilities: cannot {what}: {source}")]
    Kernel {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Names in the order of the kernel's numbers.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise: enough to install packages and to serve.
const DEFAULT: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Every capability that has a name here (Linux 5.9 and later have exactly these).
    pub const fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// What a container has unless told otherwise.
    pub fn default_container() -> Self {
        Self(
            DEFAULT
                .iter()
                .filter_map(|name| bit(name))
                .fold(0, |set, bit| set | bit),
        )
    }

    /// The set after `--cap-add` and `--cap-drop`, as docker does it: `ALL` first (adding before
    /// dropping), then the single names, where dropping wins.
    ///
    /// # Errors
    /// [`CapabilityError::Unknown`].
    pub fn adjust(self, add: &[String], drop: &[String]) -> Result<Self, CapabilityError> {
        let parse = |list: &[String]| -> Result<(bool, u64), CapabilityError> {
            let mut found = (false, 0);
            for name in list {
                if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
                    found.0 = true;
                } else {
                    let unknown = || CapabilityError::Unknown { name: name.clone() };
                    found.1 |= bit(name).ok_or_else(unknown)?;
                }
            }
            Ok(found)
        };
        let (add_all, add) = parse(add)?;
        let (drop_all, drop) = parse(drop)?;
        let base = match (add_all, drop_all) {
            (true, _) => Self::all().0,
            (false, true) => 0,
            (false, false) => self.0,
        };
        Ok(Self((base | add) & !drop))
    }

    /// Whether the capability of this name is in the set (`CAP_` and case do not matter).
    pub fn contains(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The names in the set, as `CAP_CHOWN`, in order of number.
    pub fn names(self) -> Vec<&'static str> {
        NAMES
            .into_iter()
            .enumerate()
            .filter(|(n, _)| self.0 >> n & 1 == 1)
            .map(|(_, s)| s)
            .collect()
    }

    /// The set as the kernel's bit mask.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Step 1, while still root: drops all others from the bounding set, those without a name
    /// too. Allocates nothing, so it may run between fork and exec.
    ///
    /// # Errors
    /// [`CapabilityError::Kernel`], without CAP_SETPCAP.
    pub fn drop_bounding(self) -> Result<(), CapabilityError> {
        for number in 0..u64::BITS {
            let one = 1_u64 << number;
            let capability = sys::CapabilitySet::from_bits_retain(one);
            match sys::capability_is_in_bounding_set(capability) {
                Ok(true) if self.0 & one == 0 => {
                    sys::remove_capability_from_bounding_set(capability)
                        .map_err(kernel("lower the bounding set"))?;
                }
                Ok(_) => {}
                Err(_) => break, // past the kernel's last capability
            }
        }
        Ok(())
    }

    /// Step 2, after setresuid: inheritable and ambient empty; permitted and effective are this
    /// set for uid 0 (as far as the caller has it) and empty for any other user. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`CapabilityError::Kernel`].
    pub fn set(self, uid: u32) -> Result<(), CapabilityError> {
        sys::clear_ambient_capability_set().map_err(kernel("clear the ambient set"))?;
        let have = sys::capabilities(None).map_err(kernel("read the sets"))?;
        let wanted = if uid == 0 { self.0 } else { 0 };
        let kept = have.permitted & sys::CapabilitySet::from_bits_retain(wanted);
        let sets = sys::CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: sys::CapabilitySet::empty(),
        };
        sys::set_capabilities(None, sets).map_err(kernel("set the sets"))
    }
}

fn kernel(what: &'static str) -> impl Fn(rustix::io::Errno) -> CapabilityError {
    move |errno| CapabilityError::Kernel {
        what,
        source: errno.into(),
    }
}

fn bit(name: &str) -> Option<u64> {
    let same = |full: &&str| {
        full.eq_ignore_ascii_case(name)
            || full
                .strip_prefix("CAP_")
                .is_some_and(|s| s.eq_ignore_ascii_case(name))
    };
    NAMES.iter().position(same).map(|n| 1 << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjust(add: &[&str], drop: &[&str]) -> CapabilitySet {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        CapabilitySet::default_container()
            .adjust(&own(add), &own(drop))
            .unwrap()
    }

    #[test]
    fn defaults_and_adjustments() {
        // What Podman shows in a container's /proc/self/status.
        assert_eq!(
            CapabilitySet::default_container().bits(),
            0x0000_0000_8004_05fb
        );
        assert_eq!(CapabilitySet::all().bits(), 0x1ff_ffff_ffff);
        assert!(adjust(&["net_admin"], &[]).contains("CAP_NET_ADMIN"));
        assert!(!adjust(&[], &["Cap_Chown"]).contains("chown"));
        assert_eq!(adjust(&[], &["all"]), CapabilitySet::empty());
        assert_eq!(adjust(&["CHOWN"], &["ALL"]).names(), ["CAP_CHOWN"]);
        assert_eq!(adjust(&["ALL"], &["SYS_ADMIN"]).names().len(), 40);
        let error = CapabilitySet::empty()
            .adjust(&["NET_FOO".to_owned()], &[])
            .unwrap_err();
        assert!(error.to_string().contains("NET_FOO"));
    }

    #[test]
    fn a_process_takes_them_on() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // Capabilities are per thread: a thread of its own is enough.
        let status = |uid| {
            std::thread::spawn(move || {
                let set = adjust(&[], &[]);
                set.drop_bounding().unwrap();
                set.set(uid).unwrap();
                std::fs::read_to_string("/proc/thread-self/status").unwrap()
            })
            .join()
            .unwrap()
        };
        let line = |text: &str, key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let root = status(0);
        assert_eq!(line(&root, "CapEff:"), 0x8004_05fb);
        assert_eq!(line(&root, "CapBnd:"), 0x8004_05fb);
        assert_eq!(line(&root, "CapInh:"), 0);
        let user = status(1000);
        assert_eq!(line(&user, "CapPrm:"), 0);
        assert_eq!(line(&user, "CapBnd:"), 0x8004_05fb);
    }
}
