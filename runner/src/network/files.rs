//! Contents of /etc/hosts, /etc/resolv.conf and /etc/hostname, as pure functions.
//!
//! Everything from the command line is checked before it comes here, so that no value can carry
//! a line break into a file that the container's resolver reads.

use super::{Mode, NetworkError, refuse};
use std::fmt::Write;
use std::net::IpAddr;

/// One `--add-host NAME:ADDRESS` (docker's `NAME=ADDRESS` too; IPv6 with or without brackets).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The host's name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

impl std::str::FromStr for HostEntry {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let bad = |why| refuse("--add-host", text, why);
        let split = text.split_once('=').or_else(|| text.split_once(':'));
        let (name, address) = split.ok_or_else(|| bad("want NAME:ADDRESS"))?;
        if !is_domain(name) {
            return Err(bad("the name is not a host name"));
        }
        let address = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        let address = address
            .parse()
            .map_err(|_| bad("want an IP address after the name"))?;
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// What `--dns`, `--dns-search` and `--dns-option` ask for; an empty list means the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameServers {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none at all.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

/// The value of `--dns`.
///
/// # Errors
/// It is no IP address.
pub fn parse_dns(text: &str) -> Result<IpAddr, NetworkError> {
    text.parse()
        .map_err(|_| refuse("--dns", text, "not an IP address"))
}

/// The value of `--dns-search`: a domain, or `.` for none.
///
/// # Errors
/// It is no domain name.
pub fn parse_dns_search(text: &str) -> Result<String, NetworkError> {
    if text == "." || is_domain(text.strip_suffix('.').unwrap_or(text)) {
        Ok(text.to_owned())
    } else {
        Err(refuse("--dns-search", text, "not a domain name"))
    }
}

/// The value of `--dns-option`: a word of resolv.conf's `options`, as `ndots:2`.
///
/// # Errors
/// It is empty or more than one word.
pub fn parse_dns_option(text: &str) -> Result<String, NetworkError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':');
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(refuse(
            "--dns-option",
            text,
            "want one option of resolv.conf, as ndots:2",
        ))
    }
}

/// Checks the value of `--hostname`: letters, digits, hyphens and dots, at most 63 bytes (the
/// kernel's limit is 64 with the end mark).
///
/// # Errors
/// It is no host name.
pub fn check_hostname(name: &str) -> Result<(), NetworkError> {
    if name.len() <= 63 && is_domain(name) {
        Ok(())
    } else {
        Err(refuse(
            "--hostname",
            name,
            "want letters, digits, '-' and '.', at most 63 of them",
        ))
    }
}

/// Dot-separated labels of letters, digits, hyphens and underscores.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(plain)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `/etc/hosts`. `host` is the machine's own file: with the machine's network its names are kept,
/// with another network they would lie.
pub fn hosts_file(mode: Mode, hostname: &str, host: &str, extra: &[HostEntry]) -> String {
    let mut text = match mode {
        Mode::Host if !host.is_empty() => {
            let end = if host.ends_with('\n') { "" } else { "\n" };
            format!("{host}{end}")
        }
        _ => "127.0.0.1\tlocalhost\n\
              ::1\tlocalhost ip6-localhost ip6-loopback\n\
              fe00::\tip6-localnet\n\
              ff00::\tip6-mcastprefix\n\
              ff02::1\tip6-allnodes\n\
              ff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    for entry in extra {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\t{}", entry.address, entry.name);
    }
    // The container's own name must resolve, also without any network.
    let known = text.lines().any(|line| {
        let names = line.split('#').next().unwrap_or_default();
        names
            .split_whitespace()
            .skip(1)
            .any(|name| name == hostname)
    });
    if !known {
        let short = hostname
            .split('.')
            .next()
            .filter(|short| *short != hostname);
        let short = short.map(|s| format!(" {s}")).unwrap_or_default();
        let _ = writeln!(text, "127.0.0.1\t{hostname}{short}");
    }
    text
}

/// `/etc/resolv.conf` from the machine's own file and what the user asked for; each kind of line
/// is replaced as a whole. Comments and unknown lines of the machine are kept when nothing was
/// asked for.
pub fn resolv_conf(host: &str, wanted: &NameServers) -> String {
    if *wanted == NameServers::default() {
        return host.to_owned();
    }
    let inherited = |keys: &[&str]| -> Vec<String> {
        let lines = host.lines().filter(|line| {
            line.split_whitespace()
                .next()
                .is_some_and(|first| keys.contains(&first))
        });
        lines.map(|line| line.trim().to_owned()).collect()
    };
    let servers: Vec<String> = wanted
        .servers
        .iter()
        .map(|s| format!("nameserver {s}"))
        .collect();
    let search = match wanted.search.as_slice() {
        [] => inherited(&["search", "domain"]),
        list if list.iter().any(|domain| domain == ".") => Vec::new(),
        list => vec![format!("search {}", list.join(" "))],
    };
    let options = match wanted.options.as_slice() {
        [] => inherited(&["options"]),
        list => vec![format!("options {}", list.join(" "))],
    };
    let servers = if servers.is_empty() {
        inherited(&["nameserver"])
    } else {
        servers
    };
    let lines: Vec<String> = search.into_iter().chain(servers).chain(options).collect();
    lines
        .iter()
        .fold(String::new(), |text, line| text + line + "\n")
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_host_forms() {
        let parse = |text: &str| text.parse::<HostEntry>();
        assert_eq!(
            parse("db:10.0.0.1").unwrap().address.to_string(),
            "10.0.0.1"
        );
        assert_eq!(parse("db=::1").unwrap().address.to_string(), "::1");
        assert_eq!(
            parse("db:[fe80::1]").unwrap().address.to_string(),
            "fe80::1"
        );
        assert_eq!(parse("db:fe80::1").unwrap().name, "db");
        for bad in [
            "",
            "db",
            "db:",
            ":1.2.3.4",
            "db:1.2.3",
            "a b:1.2.3.4",
            "a\nb:1.2.3.4",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts() {
        let extra = ["db:10.0.0.1".parse().unwrap()];
        let text = hosts_file(Mode::None, "box.example", "1.2.3.4 secret\n", &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.1\tdb\n") && !text.contains("secret"));
        assert!(text.ends_with("127.0.0.1\tbox.example box\n"));
        let text = hosts_file(Mode::Host, "vm", "127.0.1.1 vm # mine", &[]);
        assert_eq!(text, "127.0.1.1 vm # mine\n");
        let text = hosts_file(Mode::Host, "other", "127.0.1.1 vm # other", &[]);
        assert!(text.ends_with("127.0.0.1\tother\n"));
    }

    #[test]
    fn resolver() {
        let host = "# made by x\nsearch corp lan\nnameserver 10.0.0.2\noptions ndots:2\n";
        assert_eq!(resolv_conf(host, &NameServers::default()), host);
        let mut wanted = NameServers {
            servers: vec![parse_dns("1.1.1.1").unwrap()],
            ..Default::default()
        };
        assert_eq!(
            resolv_conf(host, &wanted),
            "search corp lan\nnameserver 1.1.1.1\noptions ndots:2\n"
        );
        wanted.search = vec![".".to_owned()];
        wanted.options = vec!["rotate".to_owned(), "ndots:1".to_owned()];
        assert_eq!(
            resolv_conf(host, &wanted),
            "nameserver 1.1.1.1\noptions rotate ndots:1\n"
        );
        assert!(parse_dns("1.1.1").is_err());
        assert!(parse_dns_search("a\nnameserver 6.6.6.6").is_err());
        assert!(parse_dns_search("example.com.").is_ok());
        assert!(parse_dns_option("ndots:1").is_ok() && parse_dns_option("a b").is_err());
    }

    #[test]
    fn hostnames() {
        for good in ["a", "web-1", "a.example.com", "3f2a"] {
            assert!(check_hostname(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a..b", "a/b", "é", &"x".repeat(64)] {
            assert!(check_hostname(bad).is_err(), "{bad}");
        }
        assert_eq!(hostname_file("a"), "a\n");
    }
}
