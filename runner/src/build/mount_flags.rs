//! The value of `RUN --mount`: `type=bind|cache|tmpfs|secret,target=…,…`.

use crate::cgroup;

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that stays between builds.
    Cache,
    /// A temporary file system.
    Tmpfs,
    /// A file that only this RUN sees.
    Secret,
}

/// Who else may use a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Everybody.
    Shared,
    /// Nobody: others get one of their own.
    Private,
    /// Nobody: others wait.
    Locked,
}

/// One mount, as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) kind: Kind,
    pub(super) target: String,
    /// Of a cache or secret.
    pub(super) id: String,
    pub(super) from: Option<String>,
    /// Within that, or within the context.
    pub(super) source: String,
    pub(super) read_only: bool,
    pub(super) sharing: Sharing,
    pub(super) mode: Option<u32>,
    pub(super) owner: (u32, u32),
    pub(super) size: Option<u64>,
    pub(super) required: bool,
}

/// The fields that a type has besides `type` and `target`.
fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bind => &["source", "from", "rw"],
        Kind::Cache => &[
            "id", "source", "from", "ro", "rw", "sharing", "mode", "uid", "gid",
        ],
        Kind::Tmpfs => &["size"],
        Kind::Secret => &["id", "required", "mode", "uid", "gid"],
    }
}

/// A field's first name.
fn plain(name: &str) -> &str {
    match name {
        "dst" | "destination" => "target",
        "src" => "source",
        "readonly" => "ro",
        "readwrite" => "rw",
        other => other,
    }
}

/// The value of a field in a `--mount`, as it stands there.
pub(super) fn field<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let pairs = text.split(',').filter_map(|part| part.split_once('='));
    let mut found = pairs.filter(|(name, _)| plain(&name.to_ascii_lowercase()) == wanted);
    found.next_back().map(|(_, value)| value)
}

impl Mount {
    /// A read-only bind.
    pub(super) fn at(target: &str) -> Self {
        Self {
            kind: Kind::Bind,
            target: target.to_owned(),
            id: String::new(),
            from: None,
            source: ".".to_owned(),
            read_only: true,
            sharing: Sharing::Shared,
            mode: None,
            owner: (0, 0),
            size: None,
            required: false,
        }
    }

    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let kind = match field(text, "type").unwrap_or("bind") {
            "bind" => Kind::Bind,
            "cache" => Kind::Cache,
            "tmpfs" => Kind::Tmpfs,
            "secret" => Kind::Secret,
            "ssh" => {
                return Err(
                    "type=ssh is not supported: no agent is passed on; give a key by type=secret"
                        .to_owned(),
                );
            }
            other => {
                return Err(format!(
                    "unknown type {other:?}; want bind, cache, tmpfs or secret"
                ));
            }
        };
        let mut mount = Self::at("");
        mount.kind = kind;
        mount.read_only = matches!(kind, Kind::Bind | Kind::Secret);
        for part in text.split(',') {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.to_ascii_lowercase(), Some(value)),
                None => (part.to_ascii_lowercase(), None),
            };
            let name = plain(&name);
            if name != "type" && name != "target" && !fields(kind).contains(&name) {
                let known = fields(kind).join(", ");
                return Err(format!(
                    "unknown field {name:?}; this type has target, {known}"
                ));
            }
            mount.set(name, value)?;
        }
        mount.complete(text)
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let text = || {
            value
                .filter(|v| !v.is_empty())
                .ok_or_else(|| format!("{name} wants a value"))
        };
        let truth = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("{name}={other}: neither true nor false")),
        };
        let number = || {
            let text = text()?;
            text.parse::<u32>()
                .map_err(|_| format!("{name}={text}: want a number"))
        };
        match name {
            "target" => self.target = text()?.to_owned(),
            "source" => self.source = text()?.to_owned(),
            "from" => self.from = Some(text()?.to_owned()),
            "id" => self.id = text()?.to_owned(),
            "ro" => self.read_only = truth()?,
            "rw" => self.read_only = !truth()?,
            "required" => self.required = truth()?,
            "uid" => self.owner.0 = number()?,
            "gid" => self.owner.1 = number()?,
            "mode" => {
                let bits = u32::from_str_radix(text()?, 8)
                    .ok()
                    .filter(|bits| *bits <= 0o7777);
                self.mode = Some(bits.ok_or("mode: want an octal number as 0755")?);
            }
            "size" => {
                let size = cgroup::parse_size("--mount", text()?);
                let size = size.map_err(|error| error.to_string())?;
                self.size = Some(size);
            }
            "sharing" => {
                self.sharing = match text()? {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => {
                        return Err(format!("sharing={other}: want shared, private or locked"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What follows from the rest.
    fn complete(mut self, text: &str) -> Result<Self, String> {
        let name = self
            .target
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        match self.kind {
            Kind::Secret => {
                if self.id.is_empty() {
                    self.id = name;
                }
                if self.target.is_empty() && !self.id.is_empty() {
                    self.target = format!("/run/secrets/{}", self.id);
                }
            }
            Kind::Cache if self.id.is_empty() => self.id.clone_from(&self.target),
            Kind::Cache if self.from.is_none() && field(text, "source").is_some() => {
                return Err("source wants from".to_owned());
            }
            _ => {}
        }
        match self.target.is_empty() {
            true => Err("target is missing".to_owned()),
            false => Ok(self),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said() {
        let secret = Mount::parse("type=secret,id=key").unwrap();
        assert_eq!(secret.target, "/run/secrets/key");
        assert!(secret.read_only && !secret.required);
        let secret = Mount::parse("type=secret,dst=/root/.npmrc,required").unwrap();
        assert_eq!((secret.id.as_str(), secret.required), (".npmrc", true));
        let cache = Mount::parse("type=cache,target=/c,sharing=locked").unwrap();
        assert_eq!((cache.id.as_str(), cache.read_only), ("/c", false));
        let bind = Mount::parse("target=/b,from=x,rw").unwrap();
        assert_eq!((bind.kind, bind.source.as_str()), (Kind::Bind, "."));
        assert!(!bind.read_only);
    }

    #[test]
    fn what_is_wrong() {
        for bad in [
            "type=ssh",
            "type=cache",
            "type=nothing,target=/a",
            "type=tmpfs,target=/a,from=b",
            "type=cache,target=/a,sharing=some",
            "type=cache,target=/a,mode=9",
            "type=secret",
            "target=/a,rw=perhaps",
        ] {
            assert!(Mount::parse(bad).is_err(), "{bad}");
        }
    }
}
