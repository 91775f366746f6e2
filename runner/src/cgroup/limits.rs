//! Resource limits as the command line gives them: parsed and checked before anything is made.
//!
//! ```text
//! "-m 64m"  --parse_memory-->  Limits{..}  --check-->  settings::plan  -->  cgroup files
//! ```
//!
//! Sizes, minima and cross-checks are docker's: a memory limit is at least 6 MiB, memory-swap is
//! memory *plus* swap, is useless without a memory limit and never below it; 0 is "not given".

use super::{CgroupError, Tuning};

/// The least memory limit that a container can start with, in bytes.
pub const MINIMUM_MEMORY: u64 = 6 << 20;

/// Limit on memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySwap {
    /// `-1`: swap without limit.
    Unlimited,
    /// Memory plus swap, in bytes.
    Bytes(u64),
}

/// What a container may use; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// `-m`: bytes.
    pub memory: Option<u64>,
    /// `--memory-swap`: memory plus swap; with [`Limits::memory`] alone, twice the memory.
    pub memory_swap: Option<MemorySwap>,
    /// `--cpus`: processors' worth of time, 0.01 and up.
    pub cpus: Option<f64>,
    /// `--cpuset-cpus`: list of processors, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// `--pids-limit`: processes and threads; -1 is no limit.
    pub pids: Option<i64>,
    /// The rarer ones.
    pub tuning: Tuning,
}

impl Limits {
    /// Checks the limits against each other and against this machine's processors.
    ///
    /// # Errors
    /// [`CgroupError::Limit`] naming the flag.
    pub fn check(&self) -> Result<(), CgroupError> {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
        let online = online.ok().and_then(|text| cpu_list(text.trim()));
        self.check_on(online.as_deref())
    }

    /// [`Limits::check`] for a machine with these processors; `None` when they are not known.
    fn check_on(&self, online: Option<&[(u32, u32)]>) -> Result<(), CgroupError> {
        self.check_memory()?;
        self.tuning.check(self)?;
        if let (Some(cpus), Some(online)) = (self.cpus, online) {
            let count: u64 = online.iter().map(|(a, b)| u64::from(b - a) + 1).sum();
            if !(0.01..=count as f64).contains(&cpus) {
                let why = format!("want 0.01 to {count}.00: this machine has {count} processors");
                return Err(refuse("--cpus", &cpus.to_string(), why));
            }
        }
        if let Some(list) = &self.cpuset_cpus {
            let bad = |why: String| refuse("--cpuset-cpus", list, why);
            let ranges = cpu_list(list).ok_or_else(|| bad(CPUSET_FORM.to_owned()))?;
            let has = |n: u32, set: &[(u32, u32)]| set.iter().any(|&(a, b)| a <= n && n <= b);
            let missing = online.and_then(|set| {
                ranges
                    .iter()
                    .flat_map(|&(a, b)| a..=b)
                    .find(|&n| !has(n, set))
            });
            if let Some(n) = missing {
                return Err(bad(format!("this machine has no processor {n}")));
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), CgroupError> {
        if let Some(memory) = self.memory.filter(|&m| m < MINIMUM_MEMORY) {
            let why = "minimum memory limit allowed is 6MB".to_owned();
            return Err(refuse("--memory", &memory.to_string(), why));
        }
        let Some(MemorySwap::Bytes(total)) = self.memory_swap else {
            return Ok(());
        };
        let bad = |why: &str| Err(refuse("--memory-swap", &total.to_string(), why.to_owned()));
        match self.memory {
            None => bad("useless without a memory limit; give --memory too"),
            Some(memory) if total < memory => {
                bad("is memory plus swap, so it cannot be less than --memory")
            }
            Some(_) => Ok(()),
        }
    }
}

const CPUSET_FORM: &str = "want processor numbers and ranges, as 0-2,4";

pub(super) fn refuse(flag: &'static str, value: &str, why: String) -> CgroupError {
    CgroupError::Limit {
        flag,
        value: value.to_owned(),
        why,
    }
}

/// A size in bytes: a number (decimals allowed) and an optional unit `b k m g t p`, also written
/// `kb` or `KiB`; units are powers of 1024.
///
/// # Errors
/// [`CgroupError::Limit`] when it is no size or does not fit 63 bits.
pub fn parse_size(flag: &'static str, text: &str) -> Result<u64, CgroupError> {
    let bad = || {
        refuse(
            flag,
            text,
            "not a size; want bytes or a number with b, k, m, g".into(),
        )
    };
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let fraction: f64 = format!("0.{fraction}").parse().map_err(|_| bad())?;
    let part = (fraction * (1_u64 << shift) as f64) as u64;
    let bytes = whole
        .checked_mul(1 << shift)
        .and_then(|n| n.checked_add(part));
    bytes.filter(|&n| n <= i64::MAX as u64).ok_or_else(bad)
}

/// The value of `-m`: a size of at least 6 MiB; 0 is no limit.
///
/// # Errors
/// [`CgroupError::Limit`].
pub fn parse_memory(text: &str) -> Result<Option<u64>, CgroupError> {
    match parse_size("--memory", text)? {
        0 => Ok(None),
        n if n < MINIMUM_MEMORY => Err(refuse(
            "--memory",
            text,
            "minimum memory limit allowed is 6MB".to_owned(),
        )),
        n => Ok(Some(n)),
    }
}

/// The value of `--memory-swap`: a size or -1; 0 is as if not given.
///
/// # Errors
/// [`CgroupError::Limit`].
pub fn parse_memory_swap(text: &str) -> Result<Option<MemorySwap>, CgroupError> {
    if text == "-1" {
        return Ok(Some(MemorySwap::Unlimited));
    }
    let bytes = parse_size("--memory-swap", text)?;
    Ok((bytes > 0).then_some(MemorySwap::Bytes(bytes)))
}

/// The value of `--cpus`: a decimal number of at least 0.01; 0 is no limit.
///
/// # Errors
/// [`CgroupError::Limit`]; the upper bound is checked by [`Limits::check`].
pub fn parse_cpus(text: &str) -> Result<Option<f64>, CgroupError> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(n) if plain && n == 0.0 => Ok(None),
        Ok(n) if plain && (0.01..1e6).contains(&n) => Ok(Some(n)),
        _ => Err(refuse(
            "--cpus",
            text,
            "want a number of at least 0.01, as 1.5".to_owned(),
        )),
    }
}

/// The value of `--cpuset-cpus`: numbers and ranges, as `0-2,4`; empty is no limit.
///
/// # Errors
/// [`CgroupError::Limit`]; whether the machine has them is checked by [`Limits::check`].
pub fn parse_cpuset(text: &str) -> Result<Option<String>, CgroupError> {
    if text.is_empty() {
        return Ok(None);
    }
    match cpu_list(text) {
        Some(_) => Ok(Some(text.to_owned())),
        None => Err(refuse("--cpuset-cpus", text, CPUSET_FORM.to_owned())),
    }
}

/// The value of `--pids-limit`: a number; 0 and -1 are no limit.
///
/// # Errors
/// [`CgroupError::Limit`].
pub fn parse_pids(text: &str) -> Result<Option<i64>, CgroupError> {
    match text.parse::<i64>() {
        Ok(-1 | 0) => Ok(None),
        Ok(n) if n > 0 => Ok(Some(n)),
        _ => Err(refuse(
            "--pids-limit",
            text,
            "want a number, or -1 for no limit".to_owned(),
        )),
    }
}

/// Ranges of a processor list, or nothing when it is malformed.
fn cpu_list(text: &str) -> Option<Vec<(u32, u32)>> {
    let number = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| s.parse::<u32>().ok())
            .flatten()
            .filter(|&n| n < 1 << 16)
    };
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((number(first)?, number(last)?)).filter(|(a, b)| a <= b)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", 0),
            ("1024", 1024),
            ("512k", 512 << 10),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("1g", 1 << 30),
            ("1.5g", 3 << 29),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("2 GB", 2 << 30),
            ("7b", 7),
        ] {
            assert_eq!(parse_size("-m", text).unwrap(), want, "{text}");
        }
        for bad in [
            "", "m", "-1", "1x", "1.", ".5g", "1.2.3m", "1e3", "9999999p", "0x10", "1 m ",
        ] {
            assert!(parse_size("-m", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn memory_and_swap_follow_docker() {
        let check = |memory, memory_swap| {
            Limits {
                memory,
                memory_swap,
                ..Limits::default()
            }
            .check_on(None)
            .map_err(|e| {
                assert!(!e.to_string().contains('\n'));
            })
        };
        assert!(parse_memory("5m").unwrap_err().to_string().contains("6MB"));
        assert_eq!(parse_memory("0").unwrap(), None);
        assert_eq!(
            parse_memory_swap("-1").unwrap(),
            Some(MemorySwap::Unlimited)
        );
        let m = Some(64 << 20);
        assert!(check(m, None).is_ok());
        assert!(check(m, Some(MemorySwap::Bytes(64 << 20))).is_ok());
        assert!(check(m, Some(MemorySwap::Bytes(63 << 20))).is_err());
        assert!(check(None, Some(MemorySwap::Bytes(63 << 20))).is_err());
        assert!(check(None, Some(MemorySwap::Unlimited)).is_ok());
        assert!(check(Some(1 << 20), None).is_err());
    }

    #[test]
    fn processors() {
        let on = |cpus, set: Option<&str>| {
            Limits {
                cpus,
                cpuset_cpus: set.map(str::to_owned),
                ..Limits::default()
            }
            .check_on(Some(&[(0, 1), (4, 4)]))
            .is_ok()
        };
        assert!(on(Some(3.0), Some("0-1,4")));
        assert!(!on(Some(3.1), None));
        assert!(!on(None, Some("0-4")));
        for bad in ["a", "1-", "-1", "3-1", "1,,2", "1 2", "70000"] {
            assert!(parse_cpuset(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "abc", "0.001", "inf", "NaN", ""] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_pids("-1").unwrap(), None);
        assert!(parse_pids("-2").is_err());
    }
}
