//! Contents of /etc/hosts, /etc/resolv.conf and /etc/hostname, as pure functions.
//!
//! Everything from the command line is checked before it comes here, so that no value can carry
//! a line break into a file that the container's resolver reads.

use super::{NetworkError, refuse};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::net::IpAddr;

/// Name servers for everybody, where the machine's own cannot be reached from a container.
const PUBLIC_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// One `--add-host NAME:ADDRESS` (docker's `NAME=ADDRESS` too; IPv6 with or without brackets).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// The host's name.
    pub name: String,
    /// Its address; none is the machine itself (`host-gateway`).
    pub address: Option<IpAddr>,
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
        let address = match address {
            "host-gateway" => None,
            address => Some(
                address
                    .parse()
                    .map_err(|_| bad("want an IP address, or host-gateway, after the name"))?,
            ),
        };
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// What `--dns`, `--dns-search` and `--dns-option` ask for; an empty list means the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// What `/etc/hosts` is made of.
#[derive(Debug)]
pub(super) struct Hosts<'a> {
    /// The container's name.
    pub(super) hostname: &'a str,
    /// Its addresses; none if it has only loopback.
    pub(super) own: &'a [IpAddr],
    /// The machine's own file, with the machine's network only: with another its names would lie.
    pub(super) machine: Option<&'a str>,
    /// What the user added.
    pub(super) extra: &'a [HostEntry],
    /// The machine, seen from the container.
    pub(super) gateway: IpAddr,
}

/// `/etc/hosts`.
pub(super) fn hosts_file(hosts: &Hosts<'_>) -> String {
    let mut text = match hosts.machine {
        Some(machine) if !machine.is_empty() => {
            let end = if machine.ends_with('\n') { "" } else { "\n" };
            format!("{machine}{end}")
        }
        _ => "127.0.0.1\tlocalhost\n\
              ::1\tlocalhost ip6-localhost ip6-loopback\n\
              fe00::\tip6-localnet\n\
              ff00::\tip6-mcastprefix\n\
              ff02::1\tip6-allnodes\n\
              ff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    for entry in hosts.extra {
        let address = entry.address.unwrap_or(hosts.gateway);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{}", entry.name);
    }
    // The container's own name must resolve, also without any network.
    let hostname = hosts.hostname;
    let known = text.lines().any(|line| {
        let names = line.split('#').next().unwrap_or_default();
        names
            .split_whitespace()
            .skip(1)
            .any(|name| name == hostname)
    });
    if known {
        return text;
    }
    let short = hostname
        .split('.')
        .next()
        .filter(|short| *short != hostname);
    let short = short.map(|s| format!(" {s}")).unwrap_or_default();
    let loopback = [IpAddr::from([127, 0, 0, 1])];
    let own = if hosts.own.is_empty() {
        &loopback
    } else {
        hosts.own
    };
    for address in own {
        let _ = writeln!(text, "{address}\t{hostname}{short}");
    }
    text
}

/// The machine's `/etc/resolv.conf` for a container with a network of its own, where the
/// machine's loopback addresses are not the machine. systemd-resolved listens on one and keeps
/// the real servers in `resolved`. Also gives a line for the user if there was nothing to use.
pub(super) fn reachable_servers(machine: &str, resolved: Option<&str>) -> (String, Option<String>) {
    let usable = |address: &IpAddr| !address.is_loopback() && !is_link_local(address);
    let candidates = [Some(machine), resolved];
    for text in candidates.into_iter().flatten() {
        if name_servers(text).any(|address| usable(&address)) {
            let keep =
                |line: &&str| server_of(line).is_none_or(|found| found.as_ref().is_ok_and(usable));
            return (lines(text.lines().filter(keep)), None);
        }
    }
    let rest = machine.lines().filter(|line| server_of(line).is_none());
    let public = PUBLIC_SERVERS.map(|address| format!("nameserver {address}"));
    let text = lines(rest.chain(public.iter().map(String::as_str)));
    let [first, second] = PUBLIC_SERVERS;
    let notice = format!(
        "NOTICE: this machine's name servers cannot be reached from a container; using {first} \
         and {second} (choose others with --dns)"
    );
    (text, Some(notice))
}

/// The name servers in a resolv.conf.
pub(super) fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| server_of(line)?.ok())
}

/// The address of a `nameserver` line; an error if it is none (a link's own address has a zone).
fn server_of(line: &str) -> Option<Result<IpAddr, ()>> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver"))
        .then(|| words.next().unwrap_or_default().parse().map_err(|_| ()))
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn lines<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// `/etc/resolv.conf` from the machine's own file and what the user asked for; each kind of line
/// is replaced as a whole. Comments and unknown lines of the machine are kept when nothing was
/// asked for.
pub(super) fn resolv_conf(machine: &str, wanted: &NameServers) -> String {
    if *wanted == NameServers::default() {
        return machine.to_owned();
    }
    let inherited = |keys: &[&str]| -> Vec<String> {
        let lines = machine.lines().filter(|line| {
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
    let all: Vec<String> = search.into_iter().chain(servers).chain(options).collect();
    lines(all.iter().map(String::as_str))
}

/// `/etc/hostname`.
pub(super) fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_host_forms() {
        let parse = |text: &str| text.parse::<HostEntry>();
        let address = |text: &str| parse(text).unwrap().address.unwrap().to_string();
        assert_eq!(address("db:10.0.0.1"), "10.0.0.1");
        assert_eq!(address("db=::1"), "::1");
        assert_eq!(address("db:[fe80::1]"), "fe80::1");
        assert_eq!(parse("db:fe80::1").unwrap().name, "db");
        assert_eq!(parse("machine:host-gateway").unwrap().address, None);
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
        let extra = ["db:10.0.0.1", "machine:host-gateway"].map(|text| text.parse().unwrap());
        let file = |hostname, own: &[&str], machine, extra| {
            let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
            hosts_file(&Hosts {
                hostname,
                own: &own,
                machine,
                extra,
                gateway: "10.77.0.1".parse().unwrap(),
            })
        };
        let text = file("box.example", &["10.77.0.2", "fd77::2"], None, &extra);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.0.0.1\tdb\n10.77.0.1\tmachine\n"));
        assert!(text.ends_with("10.77.0.2\tbox.example box\nfd77::2\tbox.example box\n"));
        assert!(file("box", &[], None, &[]).ends_with("127.0.0.1\tbox\n"));
        let text = file("vm", &[], Some("127.0.1.1 vm # mine"), &[]);
        assert_eq!(text, "127.0.1.1 vm # mine\n");
        let text = file("other", &[], Some("127.0.1.1 vm # other"), &[]);
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
    fn servers_on_loopback_are_the_machines_only() {
        let stub = "nameserver 127.0.0.53\noptions edns0\nsearch lan\n";
        let real = "nameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch lan\n";
        let (text, notice) = reachable_servers(stub, Some(real));
        assert_eq!(
            (text.as_str(), notice),
            ("nameserver 192.0.2.53\nsearch lan\n", None)
        );
        let (text, notice) = reachable_servers("nameserver ::1\nnameserver 10.0.0.2\n", None);
        assert_eq!((text.as_str(), notice), ("nameserver 10.0.0.2\n", None));
        let (text, notice) = reachable_servers(stub, None);
        assert_eq!(
            text,
            "options edns0\nsearch lan\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n"
        );
        assert!(notice.unwrap().contains("--dns"));
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
