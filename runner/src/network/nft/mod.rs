//! Our table of packet filtering, spoken to the kernel directly.
//!
//! ```text
//!   ruleset ── sets, chains, rules: always the same
//!     │ expression ── what rules are made of
//!   message ── bytes
//!   Table   ── makes and removes it, and adds and removes elements of its sets
//! ```
//!
//! The table has an owner: the netlink socket that made it. The kernel lets nobody else change it,
//! and `nft flush ruleset` passes it by. Every monitor of a bridged container holds a copy of that
//! socket (see [`super::keeper`]). Where the kernel can (6.9), the table outlives a socket whose
//! holders were all killed, so that nothing of a container is open for a moment longer than its
//! processes live; then it belongs to nobody, and the next start of a bridged container, of whatever
//! root, removes it.

mod expression;
mod message;
mod ruleset;

use super::netlink::Socket;
use super::ports::{Protocol, Published};
use ipnet::{Ipv4Net, Ipv6Net};
use message::{Action, Attributes, Batch};
use netlink_packet_core::NlasIterator;
use std::io;
use std::net::IpAddr;

/// `NFT_MSG_*`.
const NEW_TABLE: u8 = 0;
const GET_TABLE: u8 = 1;
const DELETE_TABLE: u8 = 2;
const NEW_ELEMENTS: u8 = 12;
const DELETE_ELEMENTS: u8 = 14;

/// Table flags: only the socket that made it may change it; it outlives that socket.
const OWNER: u32 = 1 << 1;
const PERSIST: u32 = 1 << 2;

/// `NFTA_TABLE_*`.
const NAME: u16 = 1;
const FLAGS: u16 = 2;
const USER_DATA: u16 = 6;

/// A comment, as nft shows it (kind, length, text): what a table of ours is known by.
const COMMENT: &[u8] = b"\0\x1dcontainers of layerfs runner\0";

/// Elements in one message: far below the 64 KiB that a list of them may have.
const ELEMENTS: usize = 400;

/// Bytes in one batch, below the room that a socket has by default (208 KiB).
const BATCH: usize = 96 << 10;

/// Our table, seen by the holder of its socket.
#[derive(Debug)]
pub(super) struct Table {
    socket: Socket,
    name: String,
}

/// One element of one of the table's sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    set: &'static str,
    key: Vec<u8>,
    /// The end of the key's range, for a set of ranges.
    end: Vec<u8>,
    /// What the key leads to, for a map.
    data: Vec<u8>,
}

/// A bridge as the table knows it.
#[derive(Debug)]
pub(super) struct Bridge<'a> {
    pub(super) name: &'a str,
    pub(super) subnet4: Ipv4Net,
    pub(super) subnet6: Option<Ipv6Net>,
    pub(super) internal: bool,
}

impl Table {
    /// The table of this name, whose owner is `socket`.
    pub(super) fn owned(socket: Socket, name: String) -> Self {
        Self { socket, name }
    }

    /// Makes the table. One of the same name that belongs to nobody is replaced if `replace`.
    ///
    /// # Errors
    /// EEXIST: there is one; EPERM: there is one with another owner.
    pub(super) fn make(mut socket: Socket, name: &str, replace: bool) -> io::Result<Self> {
        let mut made = socket.commit(&creation(name, replace, OWNER | PERSIST));
        if made.as_ref().is_err_and(is_unsupported) {
            made = socket.commit(&creation(name, replace, OWNER));
        }
        made?;
        Ok(Self::owned(socket, name.to_owned()))
    }

    /// Removes all tables of runners, of whatever root, whose holders were all killed: nothing that
    /// they guarded lives.
    ///
    /// # Errors
    /// The kernel does not tell its tables.
    pub(super) fn remove_orphans() -> io::Result<()> {
        let socket = Socket::netfilter()?;
        let mut orphans = Vec::new();
        socket.dump(&message::question(GET_TABLE), |table| {
            // Behind the family.
            orphans.extend(table.payload().get(4..).and_then(orphan));
        })?;
        for name in orphans {
            // Taken over meanwhile, or gone: then it is no orphan.
            let _ = Self::owned(Socket::netfilter()?, name).remove();
        }
        Ok(())
    }

    /// The socket, for whoever shall hold a copy.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Removes the table.
    pub(super) fn remove(mut self) -> io::Result<()> {
        let mut batch = Batch::new();
        batch.add(DELETE_TABLE, Action::Remove, |table| {
            table.text(NAME, &self.name)
        });
        self.socket.commit(&batch.finish())
    }

    /// Adds elements; those that are there already stay as they are.
    pub(super) fn add(&mut self, elements: &[Element]) -> io::Result<()> {
        self.change(NEW_ELEMENTS, Action::Ensure, elements)
    }

    /// Removes elements; those that are not there are passed over.
    pub(super) fn take_out(&mut self, elements: &[Element]) -> io::Result<()> {
        match self.change(DELETE_ELEMENTS, Action::Remove, elements) {
            Err(error) if is_missing(&error) => {}
            other => return other,
        }
        for element in elements {
            let done = self.change(
                DELETE_ELEMENTS,
                Action::Remove,
                std::slice::from_ref(element),
            );
            if let Err(error) = done
                && !is_missing(&error)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn change(&mut self, kind: u8, action: Action, elements: &[Element]) -> io::Result<()> {
        let mut batch = Batch::new();
        for same in elements.chunk_by(|left, right| left.set == right.set) {
            for some in same.chunks(ELEMENTS) {
                batch.add(kind, action, |attributes| {
                    attributes.text(1, &self.name);
                    attributes.text(2, some.first().map_or("", |element| element.set));
                    attributes.nest(3, |list| {
                        some.iter().for_each(|element| element.write(list, action));
                    });
                });
                if batch.len() > BATCH {
                    let full = std::mem::replace(&mut batch, Batch::new());
                    self.socket.commit(&full.finish())?;
                }
            }
        }
        self.socket.commit(&batch.finish())
    }
}

fn creation(name: &str, replace: bool, flags: u32) -> Vec<u8> {
    let mut batch = Batch::new();
    if replace {
        // Removing what may not be there: make it first.
        batch.add(NEW_TABLE, Action::Ensure, |table| table.text(NAME, name));
        batch.add(DELETE_TABLE, Action::Remove, |table| table.text(NAME, name));
    }
    batch.add(NEW_TABLE, Action::Make, |table| {
        table.text(NAME, name);
        table.number(FLAGS, flags);
        table.bytes(USER_DATA, COMMENT);
    });
    ruleset::fill(name, &mut batch);
    batch.finish()
}

/// The name of a table of ours that nobody owns, of its attributes.
fn orphan(attributes: &[u8]) -> Option<String> {
    let (mut name, mut flags, mut ours) = (String::new(), 0, false);
    for attribute in NlasIterator::new(attributes).flatten() {
        let value = attribute.value();
        match attribute.kind() {
            NAME => name = String::from_utf8_lossy(value).into_owned(),
            FLAGS => flags = value.first_chunk().map_or(0, |b| u32::from_be_bytes(*b)),
            USER_DATA => ours = value == COMMENT,
            _ => {}
        }
    }
    let orphan = ours && flags & OWNER == 0;
    orphan.then(|| name.trim_end_matches('\0').to_owned())
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

impl Element {
    fn write(&self, list: &mut Attributes<'_>, action: Action) {
        list.nest(1, |element| {
            element.nest(1, |key| key.bytes(1, &self.key));
            if !self.end.is_empty() {
                element.nest(10, |end| end.bytes(1, &self.end));
            }
            if !self.data.is_empty() && action != Action::Remove {
                element.nest(2, |data| data.bytes(1, &self.data));
            }
        });
    }
}

/// The elements that make a bridge known.
pub(super) fn bridge(bridge: &Bridge<'_>) -> Vec<Element> {
    let name = name_field(bridge.name);
    let plain = |set, key| Element {
        set,
        key,
        end: Vec::new(),
        data: Vec::new(),
    };
    let mut elements = vec![
        plain(ruleset::BRIDGES, name.to_vec()),
        plain(ruleset::INSIDE, [name, name].concat()),
    ];
    if bridge.internal {
        elements.push(plain(ruleset::INTERNAL, name.to_vec()));
    }
    let range = |set, first: &[u8], last: &[u8]| Element {
        set,
        key: [&name, first].concat(),
        end: [&name, last].concat(),
        data: Vec::new(),
    };
    let net = bridge.subnet4;
    let (first, last) = (net.network().octets(), net.broadcast().octets());
    elements.push(range(ruleset::INSIDERS4, &first, &last));
    if let Some(net) = bridge.subnet6 {
        let (first, last) = (net.network().octets(), net.broadcast().octets());
        elements.push(range(ruleset::INSIDERS6, &first, &last));
    }
    elements
}

/// The elements that lead published ports to a container's addresses. A loopback address is not
/// among them: it is served by the relay.
pub(super) fn published(ports: &[Published], addresses: &[IpAddr]) -> Vec<Element> {
    let mut elements = Vec::new();
    for port in ports {
        let to = addresses
            .iter()
            .find(|to| to.is_ipv4() == port.address.is_ipv4());
        let (Some(to), false) = (to, port.address.is_loopback()) else {
            continue;
        };
        for (outside, inside) in port.pairs() {
            elements.push(port_element(
                port.address,
                port.protocol,
                outside,
                *to,
                inside,
            ));
        }
    }
    // One message per map, however the ports were given.
    elements.sort_by_key(|element| element.set);
    elements
}

fn port_element(at: IpAddr, protocol: Protocol, outside: u16, to: IpAddr, inside: u16) -> Element {
    let number = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    let port_field = |port: u16| {
        let [high, low] = port.to_be_bytes();
        [high, low, 0, 0]
    };
    let mut key = Vec::with_capacity(24);
    if !at.is_unspecified() {
        key.extend(octets(at));
    }
    key.extend([number, 0, 0, 0]);
    key.extend(port_field(outside));
    let mut data = octets(to);
    data.extend(port_field(inside));
    let set = match (at.is_ipv4(), at.is_unspecified()) {
        (true, true) => ruleset::PUBLISHED4,
        (true, false) => ruleset::PUBLISHED4_AT,
        (false, true) => ruleset::PUBLISHED6,
        (false, false) => ruleset::PUBLISHED6_AT,
    };
    Element {
        set,
        key,
        end: Vec::new(),
        data,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An interface's name in the kernel's fixed width.
fn name_field(name: &str) -> [u8; 16] {
    let mut field = [0; 16];
    for (to, from) in field.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// What the table must mean, in the language of `nft`; see [`ruleset`].
    const REFERENCE: &str = "table inet runner {
        comment \"containers of layerfs runner\"
        set bridges { type ifname; elements = { \"runner0\" }; }
        set inside { type ifname . ifname; elements = { \"runner0\" . \"runner0\" }; }
        set internal { type ifname; elements = { \"runner0\" }; }
        set insiders4 {
            type ifname . ipv4_addr; flags interval
            elements = { \"runner0\" . 10.77.0.0/16 }
        }
        set insiders6 {
            type ifname . ipv6_addr; flags interval
            elements = { \"runner0\" . fd77::/64 }
        }
        map published4 {
            type inet_proto . inet_service : ipv4_addr . inet_service
            elements = { tcp . 80 : 10.77.0.2 . 8080, tcp . 81 : 10.77.0.2 . 8081 }
        }
        map published4_at {
            type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
            elements = { 192.0.2.1 . udp . 53 : 10.77.0.2 . 5353 }
        }
        map published6 {
            type inet_proto . inet_service : ipv6_addr . inet_service
            elements = { tcp . 80 : fd77::2 . 8080 }
        }
        map published6_at {
            type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
            elements = { fd99::1 . udp . 53 : fd77::2 . 5353 }
        }
        chain published {
            meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @published4_at
            meta nfproto ipv4 dnat ip to meta l4proto . th dport map @published4
            meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6_at
            meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @published6
        }
        chain prerouting {
            type nat hook prerouting priority -100;
            fib daddr type local jump published
        }
        chain output {
            type nat hook output priority -100;
            ip daddr 127.0.0.0/8 return
            ip6 daddr ::1 return
            fib daddr type local jump published
        }
        chain forward {
            type filter hook forward priority 0;
            ct state established,related accept
            iifname . oifname @inside accept
            iifname @internal drop
            oifname @internal drop
            ct status dnat accept
            oifname @bridges drop
        }
        chain postrouting {
            type nat hook postrouting priority 100;
            iifname @bridges oifname != @bridges masquerade
            oifname . ip saddr @insiders4 ct status dnat masquerade
            oifname . ip6 saddr @insiders6 ct status dnat masquerade
        }
    }";

    fn nft(args: &[&str], input: &str) -> (bool, String) {
        use std::io::Write;
        let mut command = Command::new("nft");
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// What `nft` makes of the kernel's table, without its head, which tells the owner.
    fn listed() -> String {
        let (done, text) = nft(&["list", "ruleset"], "");
        assert!(done, "{text}");
        let ours = |line: &str| line.starts_with("table") || line.contains("flags owner");
        let plain = |line: &&str| !line.trim().is_empty() && !ours(line);
        text.lines()
            .filter(plain)
            .collect::<Vec<_>>()
            .join("\n")
            .trim()
            .to_owned()
    }

    /// Runs in a thread with a network namespace of its own.
    fn apart(test: fn()) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let done = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            test();
        });
        if let Err(panic) = done.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn new_table() -> Table {
        Table::make(Socket::netfilter().unwrap(), "runner", false).unwrap()
    }

    fn publish(address: &str, protocol: Protocol, outside: u16, inside: u16) -> Published {
        Published {
            address: address.parse().unwrap(),
            protocol,
            outside,
            inside,
            count: 1,
        }
    }

    fn elements() -> Vec<Element> {
        let mut elements = bridge(&Bridge {
            name: "runner0",
            subnet4: "10.77.0.0/16".parse().unwrap(),
            subnet6: Some("fd77::/64".parse().unwrap()),
            internal: true,
        });
        let ports = [
            Published {
                count: 2,
                ..publish("0.0.0.0", Protocol::Tcp, 80, 8080)
            },
            publish("192.0.2.1", Protocol::Udp, 53, 5353),
            publish("::", Protocol::Tcp, 80, 8080),
            publish("fd99::1", Protocol::Udp, 53, 5353),
            publish("127.0.0.1", Protocol::Tcp, 90, 90),
            publish("::1", Protocol::Tcp, 90, 90),
        ];
        let addresses = ["10.77.0.2", "fd77::2"].map(|text| text.parse().unwrap());
        elements.extend(published(&ports, &addresses));
        elements
    }

    #[test]
    fn the_kernel_understands_what_was_meant() {
        apart(|| {
            let mut table = new_table();
            let empty = listed();
            table.add(&elements()).unwrap();
            let ours = listed();
            // Once more changes nothing.
            table.add(&elements()).unwrap();
            assert_eq!(listed(), ours);
            table.take_out(&elements()).unwrap();
            assert_eq!(listed(), empty);
            table.take_out(&elements()).unwrap();
            table.remove().unwrap();
            assert_eq!(listed(), "");
            let (done, why) = nft(&["-f", "-"], REFERENCE);
            assert!(done, "{why}");
            assert_eq!(ours, listed());
        });
    }

    #[test]
    fn nobody_else_changes_it() {
        apart(|| {
            let table = new_table();
            let before = listed();
            assert!(nft(&["flush", "ruleset"], "").0);
            assert!(!nft(&["delete", "table", "inet", "runner"], "").0);
            assert_eq!(listed(), before);
            let second = Table::make(Socket::netfilter().unwrap(), "runner", true);
            assert_eq!(second.unwrap_err().raw_os_error(), Some(libc::EPERM));
            drop(table);
            // If it outlived its owner, whoever asks for it gets a new one.
            let socket = Socket::netfilter().unwrap();
            drop(Table::make(socket, "runner", true).unwrap());
        });
    }

    #[test]
    fn thousands_of_ports() {
        apart(|| {
            let mut table = new_table();
            let ports = Published {
                count: 20_000,
                ..publish("0.0.0.0", Protocol::Tcp, 10_000, 10_000)
            };
            let many = published(&[ports], &["10.77.0.2".parse().unwrap()]);
            table.add(&many).unwrap();
            let (_, text) = nft(&["list", "map", "inet", "runner", "published4"], "");
            assert_eq!(text.matches("10.77.0.2").count(), 20_000);
            table.take_out(&many).unwrap();
            let (_, text) = nft(&["list", "map", "inet", "runner", "published4"], "");
            assert_eq!(text.matches("10.77.0.2").count(), 0);
        });
    }
}
