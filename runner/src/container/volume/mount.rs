//! The value of `--mount`: `type=bind|volume|tmpfs,source=...,target=...,...`.

use super::flags::{host_path, target_path, value};
use super::store::check_name;
use super::{Forbid, Origin, Tmpfs, Wanted};
use crate::cgroup;
use crate::error::Result;

const FLAG: &str = "--mount";

/// What a `--mount` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A path of the host, or a volume.
    Volume(Wanted),
    /// A temporary file system.
    Tmpfs(Tmpfs),
}

/// The fields, as text.
#[derive(Debug, Default)]
struct Fields<'a> {
    kind: Option<&'a str>,
    source: Option<&'a str>,
    target: Option<&'a str>,
    read_only: bool,
    propagation: Option<&'a str>,
    no_copy: bool,
    size: Option<&'a str>,
    mode: Option<&'a str>,
}

impl Mount {
    /// Parses the value.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: String| value(FLAG, text, why);
        let fields = Fields::of(text).map_err(bad)?;
        let target = fields
            .target
            .ok_or_else(|| bad("target= is missing".to_owned()))?;
        let target = target_path(target).map_err(bad)?;
        let kind = fields.kind.unwrap_or("volume");
        if let Some(field) = fields.stray(kind) {
            return Err(bad(format!("{field} goes not with type={kind}")));
        }
        let origin = match (kind, fields.source) {
            ("tmpfs", _) => {
                let tmpfs = fields.tmpfs(target).map_err(bad)?;
                return Ok(Self::Tmpfs(tmpfs));
            }
            ("bind", Some(source)) => Origin::Host(host_path(source).map_err(bad)?),
            ("bind", None) => return Err(bad("source= is missing".to_owned())),
            ("volume", Some(name)) => {
                check_name(name).map_err(bad)?;
                Origin::Named(name.to_owned())
            }
            ("volume", None) => Origin::Anonymous,
            (other, _) => {
                let why = format!("unknown type {other:?}; want bind, volume or tmpfs");
                return Err(bad(why));
            }
        };
        let mut wanted = Wanted::new(origin, target);
        wanted.read_only = fields.read_only;
        wanted.copy = !fields.no_copy;
        if let Some(propagation) = fields.propagation
            && !wanted.propagation(propagation).map_err(bad)?
        {
            let why = format!("unknown bind-propagation {propagation:?}; want rprivate or rslave");
            return Err(bad(why));
        }
        Ok(Self::Volume(wanted))
    }
}

impl<'a> Fields<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let mut fields = Self::default();
        for field in text.split(',') {
            let (key, setting) = match field.split_once('=') {
                Some((key, setting)) => (key, Some(setting)),
                None => (field, None),
            };
            let given = || setting.ok_or_else(|| format!("{key} wants a value: {key}=..."));
            match key.to_ascii_lowercase().as_str() {
                "type" => fields.kind = Some(given()?),
                "source" | "src" => fields.source = Some(given()?),
                "target" | "destination" | "dst" => fields.target = Some(given()?),
                "readonly" | "ro" => fields.read_only = truth(setting)?,
                "bind-propagation" => fields.propagation = Some(given()?),
                "volume-nocopy" => fields.no_copy = truth(setting)?,
                "tmpfs-size" => fields.size = Some(given()?),
                "tmpfs-mode" => fields.mode = Some(given()?),
                "volume-driver" if setting == Some("local") => {}
                _ => {
                    return Err(format!(
                        "unknown field {field:?}; known: type, source, target, readonly, \
                         bind-propagation, volume-nocopy, tmpfs-size, tmpfs-mode"
                    ));
                }
            }
        }
        Ok(fields)
    }

    /// A field that is given and that this type has not.
    fn stray(&self, kind: &str) -> Option<&'static str> {
        let given = [
            ("source", self.source.is_some(), kind != "tmpfs"),
            (
                "bind-propagation",
                self.propagation.is_some(),
                kind == "bind",
            ),
            ("volume-nocopy", self.no_copy, kind == "volume"),
            ("tmpfs-size", self.size.is_some(), kind == "tmpfs"),
            ("tmpfs-mode", self.mode.is_some(), kind == "tmpfs"),
        ];
        let stray = given.iter().find(|(_, given, fits)| *given && !fits);
        stray.map(|(name, ..)| *name)
    }

    fn tmpfs(&self, target: std::path::PathBuf) -> Result<Tmpfs, String> {
        let mut options = Vec::new();
        if let Some(size) = self.size {
            let size = cgroup::parse_size(FLAG, size).map_err(|error| match error {
                cgroup::CgroupError::Limit { why, .. } => why,
                other => other.to_string(),
            })?;
            options.push(("size".to_owned(), size.to_string()));
        }
        let mode = self.mode.unwrap_or("1777");
        if mode.is_empty() || !mode.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
            return Err(format!("tmpfs-mode {mode:?} is no octal number"));
        }
        options.push(("mode".to_owned(), mode.to_owned()));
        Ok(Tmpfs {
            target,
            read_only: self.read_only,
            forbid: Forbid {
                suid: true,
                dev: true,
                exec: true,
            },
            options,
        })
    }
}

fn truth(text: Option<&str>) -> Result<bool, String> {
    match text {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("{other:?} is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_types() {
        let Mount::Volume(bind) =
            Mount::parse("type=bind,src=/etc,dst=/data,readonly,bind-propagation=rslave").unwrap()
        else {
            panic!("not a volume");
        };
        assert!(bind.read_only && bind.slave);
        let Mount::Volume(volume) = Mount::parse("source=web,target=/w,volume-nocopy").unwrap()
        else {
            panic!("not a volume");
        };
        assert_eq!(volume.origin, Origin::Named("web".to_owned()));
        assert!(!volume.copy);
        let Mount::Tmpfs(tmpfs) =
            Mount::parse("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap()
        else {
            panic!("not a tmpfs");
        };
        let size = ("size".to_owned(), "1048576".to_owned());
        assert!(tmpfs.options.contains(&size), "{tmpfs:?}");
        for bad in [
            "",
            "type=bind,target=/x",
            "type=bind,source=/not/there,target=/x",
            "type=volume,source=a/b,target=/x",
            "type=tmpfs,source=a,target=/x",
            "type=frob,target=/x",
            "target=/x,frob=1",
            "target",
            "target=/x,ro=maybe",
            "type=bind,source=/etc,target=/x,volume-nocopy",
            "type=tmpfs,target=/t,tmpfs-mode=9",
        ] {
            let error = Mount::parse(bad).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{bad}");
        }
    }
}
