//! Paths of /proc and /sys that a container may not read, or not write.
//!
//! Pure data: `mounts` covers a masked directory with an empty read-only tmpfs and a masked file
//! with `/dev/null`, and remounts a read-only path over itself. A path that the kernel does not
//! have is skipped. Both lists apply unless the container is privileged.

/// Unreadable and empty in the container.
pub const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Directory of processors; below each, [`MASKED_PER_CPU`] is masked too.
pub const CPU_DIRECTORY: &str = "/sys/devices/system/cpu";

/// Masked below every `cpu[0-9]+` of [`CPU_DIRECTORY`].
pub const MASKED_PER_CPU: &str = "thermal_throttle";

/// Readable, not writable, in the container. `/sys` is mounted read-only as a whole besides.
pub const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
