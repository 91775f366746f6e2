//! From a profile to the rules that hold here: this architecture, this kernel, these
//! capabilities; names become numbers.

use super::profile::{Action, Argument, Condition, Profile, Rule};
use super::syscalls;
use crate::security::CapabilitySet;
use std::collections::BTreeMap;

/// This machine in libseccomp's spelling, and in Go's.
#[cfg(target_arch = "x86_64")]
const NATIVE: (&str, &str) = ("SCMP_ARCH_X86_64", "amd64");
#[cfg(target_arch = "aarch64")]
const NATIVE: (&str, &str) = ("SCMP_ARCH_AARCH64", "arm64");

const MAX_ERRNO: u32 = 4095;
const EPERM: u32 = 1;
const ARGUMENTS: u32 = 6;

/// The answer to a call, as the kernel's return value of a filter; smaller is stricter.
pub(super) type Verdict = u32;

/// One condition with its answer: all comparisons must hold; none is always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) when: Vec<Argument>,
    pub(super) verdict: Verdict,
}

/// What holds here.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) default: Verdict,
    /// By system call number: cases to try in order; the first that holds decides.
    pub(super) calls: BTreeMap<u32, Vec<Case>>,
    pub(super) flags: u32,
}

/// Chooses the rules that hold for these capabilities on this kernel.
pub(super) fn select(
    profile: &Profile,
    caps: CapabilitySet,
    kernel: (u32, u32),
) -> Result<Rules, String> {
    let named = profile.arch_map.iter().map(|map| &map.architecture);
    let mut named = named.chain(&profile.architectures).peekable();
    if named.peek().is_some() && !named.any(|name| name == NATIVE.0) {
        return Err(format!(
            "has no rules for this machine ({}) in its architectures",
            NATIVE.0
        ));
    }
    let mut rules = Rules {
        default: verdict(profile.default_action, profile.default_errno_ret)?,
        calls: BTreeMap::new(),
        flags: flags(&profile.flags)?,
    };
    for (place, rule) in profile.syscalls.iter().enumerate() {
        let at = |why: String| format!("syscalls[{place}]: {why}");
        let cases = cases(rule).map_err(at)?;
        if !holds(rule, caps, kernel).map_err(at)? {
            continue;
        }
        for number in names(rule).map_err(at)?.filter_map(syscalls::number) {
            rules
                .calls
                .entry(number)
                .or_default()
                .extend(cases.iter().cloned());
        }
    }
    for cases in rules.calls.values_mut() {
        // Stable: equally strict cases keep the order of the file.
        cases.sort_by_key(|case| (strictness(case.verdict), case.when.is_empty()));
        let end = cases.iter().position(|case| case.when.is_empty());
        cases.truncate(end.map_or(cases.len(), |end| end + 1));
    }
    Ok(rules)
}

/// The names of a rule, in either spelling.
fn names(rule: &Rule) -> Result<impl Iterator<Item = &str>, String> {
    if rule.name.is_empty() == rule.names.is_empty() {
        return Err("want either name or names".to_owned());
    }
    let single = Some(rule.name.as_str()).filter(|name| !name.is_empty());
    Ok(single
        .into_iter()
        .chain(rule.names.iter().map(String::as_str)))
}

/// The cases of a rule: one with all comparisons, or, when an argument is named twice, one for
/// each comparison (that is how runc reads such rules).
fn cases(rule: &Rule) -> Result<Vec<Case>, String> {
    let verdict = verdict(rule.action, rule.errno_ret)?;
    if let Some(bad) = rule.args.iter().find(|arg| arg.index >= ARGUMENTS) {
        return Err(format!(
            "argument index {}: calls have arguments 0 to 5",
            bad.index
        ));
    }
    let twice = (0..ARGUMENTS).any(|n| rule.args.iter().filter(|a| a.index == n).count() > 1);
    if twice {
        return Ok(rule
            .args
            .iter()
            .map(|&arg| Case {
                when: vec![arg],
                verdict,
            })
            .collect());
    }
    Ok(vec![Case {
        when: rule.args.clone(),
        verdict,
    }])
}

/// Whether a rule counts here: everything its includes name, nothing its excludes name.
fn holds(rule: &Rule, caps: CapabilitySet, kernel: (u32, u32)) -> Result<bool, String> {
    let new_enough = |condition: &Condition| match condition.min_kernel.as_str() {
        "" => Ok(None),
        text => match version(text) {
            Some(wanted) => Ok(Some(kernel >= wanted)),
            None => Err(format!("minKernel {text:?}: want MAJOR.MINOR")),
        },
    };
    let native = |arch: &String| arch == NATIVE.1;
    let (with, without) = (&rule.includes, &rule.excludes);
    let included = with.caps.iter().all(|cap| caps.contains(cap))
        && (with.arches.is_empty() || with.arches.iter().any(native))
        && new_enough(with)?.unwrap_or(true);
    let excluded = without.caps.iter().any(|cap| caps.contains(cap))
        || without.arches.iter().any(native)
        || new_enough(without)?.unwrap_or(false);
    Ok(included && !excluded)
}

fn verdict(action: Action, errno: Option<u32>) -> Result<Verdict, String> {
    let data = match errno {
        Some(n) if n > MAX_ERRNO => return Err(format!("errnoRet {n}: not an errno")),
        Some(n) => n,
        None => EPERM,
    };
    Ok(match action {
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Errno => libc::SECCOMP_RET_ERRNO | data,
        Action::Trace => libc::SECCOMP_RET_TRACE | data,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Allow => libc::SECCOMP_RET_ALLOW,
    })
}

/// The kernel's own order of actions: it compares them as signed numbers.
fn strictness(verdict: Verdict) -> i32 {
    (verdict & libc::SECCOMP_RET_ACTION_FULL) as i32
}

fn flags(names: &[String]) -> Result<u32, String> {
    names.iter().try_fold(0, |flags, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | libc::SECCOMP_FILTER_FLAG_LOG as u32),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32),
        // One thread installs the filter before it executes the command: nothing to do.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags),
        other => Err(format!("flag {other:?}: unknown")),
    })
}

/// Major and minor number at the beginning of a kernel release.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}
