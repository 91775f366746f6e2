//! Image names: the grammar `[host[:port]/]path[:tag][@digest]` of docker references.
//!
//! Path components are lower case letters and digits, separated inside by `.`, `_`, `__` or any
//! number of `-`. The first component is a host when it has a `.` or `:` or is `localhost`. A
//! name of 64 hexadecimal digits would look like an id and is refused; so are the words that
//! `run` gives another meaning.

use super::ImageError;
use super::record::is_id;
use std::fmt;

/// Words that are no names: they choose another kind of image.
const RESERVED: [&str; 3] = ["host", "dir", "oci"];

/// Longest name without its tag.
const LONGEST_NAME: usize = 255;

/// Longest tag.
const LONGEST_TAG: usize = 128;

/// The registry of names without one.
const DOCKER: &str = "docker.io";

/// A checked image name with its tag or its digest. Names of docker's own registry are kept short:
/// `docker.io/library/debian` is `debian`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    name: String,
    tag: String,
    /// `sha256:` and 64 digits; then there is no tag.
    digest: Option<String>,
}

impl Reference {
    /// The part before tag or digest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, `latest` when none was given; empty with a digest.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The digest of a manifest, `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The same name with a digest instead of the tag: `digest` as 64 hexadecimal digits.
    pub fn at_digest(&self, digest: &str) -> Self {
        Self {
            name: self.name.clone(),
            tag: String::new(),
            digest: Some(format!("sha256:{digest}")),
        }
    }

    /// Where it is: the registry's host, and the repository there. Short names are docker's own
    /// registry's.
    pub fn place(&self) -> (&str, String) {
        match self.name.split_once('/') {
            Some((first, rest)) if looks_like_host(first) => (first, rest.to_owned()),
            Some(_) => (DOCKER, self.name.clone()),
            None => (DOCKER, format!("library/{}", self.name)),
        }
    }

    /// The reference as a single file name: `/` and `:` escaped, so that no two are the same.
    pub(super) fn file_name(&self) -> String {
        self.to_string().replace('/', "%2F").replace(':', "%3A") + ".json"
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.name),
            None => write!(f, "{}:{}", self.name, self.tag),
        }
    }
}

impl std::str::FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|why| ImageError::Name {
            name: text.to_owned(),
            why: why.to_owned(),
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (text, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match text[slash..].rfind(':') {
        Some(colon) => (&text[..slash + colon], &text[slash + colon + 1..]),
        None => (text, "latest"),
    };
    let name = short(name);
    let path = match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => {
            if !is_host(first) {
                return Err("the part before the first '/' is not HOST[:PORT]");
            }
            rest
        }
        _ => name,
    };
    if name.is_empty() {
        return Err("empty; want NAME[:TAG]");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("names are lower case");
    }
    if !path.split('/').all(is_component) {
        return Err("want lower case letters, digits, and '.', '_', '-' between them");
    }
    if !is_tag(tag) {
        return Err("the tag wants letters, digits, '_', '.', '-', at most 128 of them");
    }
    if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("looks like an image id");
    }
    if RESERVED.contains(&name) {
        return Err("has a meaning of its own; choose another name");
    }
    if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(is_id)) {
        return Err("the digest wants sha256: and 64 lower case hexadecimal digits");
    }
    let reference = Reference {
        name: name.to_owned(),
        tag: if digest.is_some() { "" } else { tag }.to_owned(),
        digest: digest.map(str::to_owned),
    };
    // Also within what a file name can hold.
    if name.len() > LONGEST_NAME || reference.file_name().len() > 240 {
        return Err("too long");
    }
    Ok(reference)
}

/// A name of docker's own registry without what goes without saying.
fn short(name: &str) -> &str {
    let prefixes = ["docker.io/", "index.docker.io/"];
    let Some(path) = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)) else {
        return name;
    };
    // Without its host, the first part of the path would be taken for one.
    if path
        .split_once('/')
        .is_some_and(|(first, _)| looks_like_host(first))
    {
        return name;
    }
    let official = path.strip_prefix("library/");
    official.filter(|rest| !rest.contains('/')).unwrap_or(path)
}

fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_component(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(inner)
        && text
            .split(|c: char| !matches!(c, '.' | '_' | '-'))
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().is_ok()),
        None => (text, true),
    };
    let label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    port && host.split('.').all(label)
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=LONGEST_TAG).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, name, tag) in [
            ("debian", "debian", "latest"),
            ("debian:12", "debian", "12"),
            ("a/b__c/d-e--f.g", "a/b__c/d-e--f.g", "latest"),
            ("localhost:5000/x:V1.0_a", "localhost:5000/x", "V1.0_a"),
            ("Registry.Example.com/x", "Registry.Example.com/x", "latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.name(), reference.tag()), (name, tag), "{text}");
        }
        let long = "x".repeat(256);
        let id = "0123456789abcdef".repeat(4);
        for bad in [
            "",
            ":",
            "Debian",
            "a b",
            "../x",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a:",
            "a:.x",
            "a:b c",
            "a@sha256:00",
            "host",
            "dir:x",
            "oci",
            "a.b:x/y",
            "é",
            "a\n",
            "localhost:99999/x",
            &long,
            &id,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn places() {
        for (text, shown, host, repository) in [
            ("debian", "debian:latest", "docker.io", "library/debian"),
            (
                "docker.io/library/debian:1",
                "debian:1",
                "docker.io",
                "library/debian",
            ),
            ("index.docker.io/me/x", "me/x:latest", "docker.io", "me/x"),
            ("localhost/x", "localhost/x:latest", "localhost", "x"),
            // Shortened, they would be names of other registries (found by the fuzz target `names`).
            (
                "docker.io/quay.io/x",
                "docker.io/quay.io/x:latest",
                "docker.io",
                "quay.io/x",
            ),
            (
                "docker.io/docker.io/library/x",
                "docker.io/docker.io/library/x:latest",
                "docker.io",
                "docker.io/library/x",
            ),
            (
                "h.example:5000/a/b:1",
                "h.example:5000/a/b:1",
                "h.example:5000",
                "a/b",
            ),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), shown);
            assert_eq!(reference.place(), (host, repository.to_owned()));
        }
        let digest = format!("a:1@sha256:{}", "0".repeat(64));
        let reference: Reference = digest.parse().unwrap();
        assert_eq!(reference.to_string(), digest.replace(":1@", "@"));
        assert_eq!((reference.tag(), reference.name()), ("", "a"));
    }

    #[test]
    fn file_names_are_single_and_distinct() {
        let file = |text: &str| text.parse::<Reference>().unwrap().file_name();
        assert_eq!(
            file("localhost:5000/a/b:1"),
            "localhost%3A5000%2Fa%2Fb%3A1.json"
        );
        assert!(!file("a/b").contains('/'));
    }
}
