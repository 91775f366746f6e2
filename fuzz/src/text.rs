//! What users and images write: Dockerfiles, names, patterns.

use runner::build::{Ignore, parse, parse_alone, words};
use runner::cgroup::{parse_cpus, parse_cpuset, parse_memory, parse_memory_swap};
use runner::container::check_name;
use runner::container::spec::{DeviceWish, Restart};
use runner::image::{OciConfig, Reference};
use runner::network::{Exposed, HostEntry, Mac, Publish, parse_dns, parse_dns_search};
use runner::registry::{Digest, Platform};
use runner::types::{Moment, parse_duration};

/// Reads a Dockerfile, each line as a `--change`, and each as a word with variables.
pub fn dockerfile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse(&text) {
        Ok((instructions, _)) => drop(format!("{instructions:?}")),
        Err(fault) => {
            let shown = fault.show("Dockerfile", &text);
            assert!(shown.contains("Dockerfile"), "{shown}");
        }
    }
    let value = |name: &str| name.starts_with('a').then(|| name.to_owned());
    for line in text.lines().take(100) {
        let _ = parse_alone(line);
        for escape in ['\\', '`'] {
            let _ = words::expand(line, escape, &value);
            let _ = words::expand_document(line, escape, &value);
            for (at, word) in words::split(line, escape) {
                assert!(line[at..].starts_with(word), "{word:?} is not at {at}");
            }
        }
    }
}

/// Reads each line as an image's name, a digest, a published port and so on; all of it as patterns of
/// `.dockerignore`, and as an image's configuration.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().take(100) {
        if let Ok(name) = line.parse::<Reference>() {
            let again: Reference = name.to_string().parse().unwrap();
            assert_eq!(again, name, "a name that is shown is understood again");
            let (host, path) = name.place();
            assert!(!host.is_empty() && !path.is_empty() && !path.contains(".."));
        }
        if let Some(digest) = Digest::parse(line) {
            assert_eq!(digest.hex().len(), 64);
        }
        arguments(line);
    }
    if let Ok(patterns) = Ignore::parse(&text) {
        for path in ["a", "a/b/c.rs", "target/debug", "\u{fc}/x", "a/./.."] {
            let _ = (patterns.matches(path), patterns.takes_back());
        }
    }
    let _ = serde_json::from_slice::<OciConfig>(bytes);
}

/// What flags of `run` take.
fn arguments(line: &str) {
    let _ = line.parse::<Publish>();
    let _ = line.parse::<Exposed>();
    let _ = line.parse::<HostEntry>();
    let _ = line.parse::<Mac>();
    let _ = line.parse::<DeviceWish>();
    let _ = line.parse::<Restart>();
    let _ = (parse_dns(line), parse_dns_search(line));
    let _ = (parse_memory(line), parse_memory_swap(line));
    let _ = (parse_cpus(line), parse_cpuset(line), parse_duration(line));
    let _ = (Platform::parse(line), check_name("--name", line));
    for moment in [Moment::parse(line), Moment::parse_exact(line)] {
        let Some(moment) = moment else { continue };
        let _ = (moment.local("%Y"), moment.age());
        let again = Moment::parse_exact(&moment.long());
        assert_eq!(
            again,
            Some(moment),
            "a time that is shown is understood again"
        );
    }
}
