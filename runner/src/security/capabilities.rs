//! Capability sets: named bits, docker's defaults, and how a process takes them on.

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

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Every capability of the running kernel.
    pub fn all() -> Self {
        Self(u64::MAX >> 23)
    }

    /// What a container has unless told otherwise.
    pub fn default_container() -> Self {
        Self(0)
    }

    /// The set after `--cap-add` and `--cap-drop`.
    pub fn adjust(self, _add: &[String], _drop: &[String]) -> Result<Self, CapabilityError> {
        Ok(self)
    }

    /// Whether the capability of this name is in the set (`CAP_` and case do not matter).
    pub fn contains(self, _name: &str) -> bool {
        false
    }

    /// The names in the set, as `CAP_CHOWN`, in order of number.
    pub fn names(self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The set as the kernel's bit mask.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Step 1, while still root: drops all others from the bounding set and clears ambient.
    pub fn drop_bounding(self) -> Result<(), CapabilityError> {
        Ok(())
    }

    /// Step 2, after setresuid: inheritable and ambient empty; permitted and effective are this
    /// set for uid 0 and empty for any other user.
    pub fn set(self, _uid: u32) -> Result<(), CapabilityError> {
        Ok(())
    }
}
