//! What a group uses, read from its files. What this machine's groups do not tell counts as nothing.

use super::Cgroup;
use super::group::Group;
use super::hierarchy::Version;

/// What the processes of a group use, or have used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the group was made, in nanoseconds.
    pub cpu: u64,
    /// Memory, without pages of files that can be dropped at once, in bytes.
    pub memory: u64,
    /// The memory limit in force, in bytes.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
}

impl Cgroup {
    /// As it is now.
    pub fn usage(&self) -> Usage {
        let (read, written) = self.disk_bytes();
        let pids = self
            .with("pids")
            .map_or(0, |group| number(group, "pids.current"));
        Usage {
            cpu: self.processor_time(),
            memory: self.with("memory").map_or(0, memory),
            memory_limit: self.memory_limit(),
            pids: if pids > 0 {
                pids
            } else {
                self.members().len() as u64
            },
            read,
            written,
        }
    }

    fn processor_time(&self) -> u64 {
        if let Some(v1) = self.with("cpuacct") {
            return number(v1, "cpuacct.usage");
        }
        let used = self
            .unified()
            .map(|group| group.counter("cpu.stat", "usage_usec"));
        match used {
            Some(Ok(Some(micros))) => micros.saturating_mul(1000),
            _ => 0,
        }
    }

    fn disk_bytes(&self) -> (u64, u64) {
        if let Some(v1) = self.with("blkio") {
            let file = "blkio.throttle.io_service_bytes_recursive";
            return v1_bytes(&v1.read(file).unwrap_or_default());
        }
        let text = self.unified().and_then(|group| group.read("io.stat").ok());
        v2_bytes(&text.unwrap_or_default())
    }
}

fn number(group: &Group, file: &str) -> u64 {
    let text = group.read(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// As docker's: what is used, without inactive pages of files.
fn memory(group: &Group) -> u64 {
    let (used, inactive) = match group.version {
        Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
        Version::V2 => ("memory.current", "inactive_file"),
    };
    let inactive = group.counter("memory.stat", inactive).ok().flatten();
    number(group, used).saturating_sub(inactive.unwrap_or(0))
}

/// Lines as `8:0 Read 4096`.
fn v1_bytes(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        let lines = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            (words.next() == Some(kind)).then(|| words.next()?.parse::<u64>().ok())?
        });
        lines.sum()
    };
    (sum("Read"), sum("Write"))
}

/// Lines as `8:0 rbytes=4096 wbytes=0 rios=1 ...`.
fn v2_bytes(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let words = text.split_whitespace();
        words
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_of_both_versions() {
        let v1 = "8:0 Read 4096\n8:0 Write 10\n8:0 Total 4106\n9:1 Read 1\nTotal 4107\n";
        assert_eq!(v1_bytes(v1), (4097, 10));
        let v2 = "8:0 rbytes=5 wbytes=6 rios=1\n9:0 rbytes=7 wbytes=0\n";
        assert_eq!(v2_bytes(v2), (12, 6));
        assert_eq!((v1_bytes(""), v2_bytes("")), ((0, 0), (0, 0)));
    }
}
