//! The JSON of a profile, as docker writes it, read strictly.

use serde::{Deserialize, Deserializer};

/// A whole profile file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Profile {
    pub(super) default_action: Action,
    pub(super) default_errno_ret: Option<u32>,
    /// Named errno beside the number, as Podman writes it; the number counts.
    #[serde(rename = "defaultErrno")]
    _default_errno: Option<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) arch_map: Vec<ArchMap>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) architectures: Vec<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) flags: Vec<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) syscalls: Vec<Rule>,
}

/// An architecture and those that its kernel runs besides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ArchMap {
    pub(super) architecture: String,
    #[serde(default, deserialize_with = "maybe_null", rename = "subArchitectures")]
    _others: Vec<String>,
}

/// Calls, what to answer, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) names: Vec<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) name: String,
    pub(super) action: Action,
    pub(super) errno_ret: Option<u32>,
    #[serde(rename = "errno")]
    _errno: Option<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) args: Vec<Argument>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) includes: Condition,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) excludes: Condition,
}

/// When a rule counts (all of it for includes, any of it for excludes).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) caps: Vec<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) arches: Vec<String>,
    #[serde(default, deserialize_with = "maybe_null")]
    pub(super) min_kernel: String,
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Argument {
    pub(super) index: u32,
    pub(super) value: u64,
    /// For a masked comparison: what the masked argument must be (`value` is the mask).
    #[serde(default)]
    pub(super) value_two: u64,
    pub(super) op: Comparison,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Comparison {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Action {
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

/// Reads a profile; the error tells line and column.
pub(super) fn parse(text: &str) -> Result<Profile, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// A value, or `null` for the default, as Go writes empty lists.
fn maybe_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
