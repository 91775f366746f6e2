//! What rules are made of: each expression loads into a register, compares one, or decides.
//!
//! Registers are numbered in units of four bytes; an IPv6 address takes four of them, an
//! interface's name too. A comparison or lookup that does not match ends its rule.

use super::message::Attributes;

/// Puts a value of the packet, or of what the kernel knows about it, into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// Name of the interface that it came by, 16 bytes; zeroes if it comes from here.
    InputName,
    /// Name of the interface that it leaves by, 16 bytes.
    OutputName,
    /// 2 for IPv4, 10 for IPv6; one byte.
    Family,
    /// TCP, UDP, ...; one byte.
    Protocol,
    /// IPv4 source address.
    Source4,
    /// IPv4 destination address.
    Destination4,
    /// IPv6 source address.
    Source6,
    /// IPv6 destination address.
    Destination6,
    /// Port that it goes to, two bytes.
    DestinationPort,
    /// What kind of address it goes to, as `RTN_*`.
    DestinationKind,
    /// Bits of the connection's state: [`ESTABLISHED`], [`RELATED`].
    ConnectionState,
    /// Bits of the connection's status: [`TRANSLATED`].
    ConnectionStatus,
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Fills a register.
    Load(Value, u32),
    /// Goes on if the register holds this.
    Equal(u32, Vec<u8>),
    /// Goes on if the register holds one of these bits.
    AnyOf(u32, u32),
    /// Goes on if the register holds an address below 127.0.0.0/8.
    Loopback4(u32),
    /// Goes on if the set has the key that starts in the register.
    In(u32, &'static str),
    /// Goes on if it has not.
    NotIn(u32, &'static str),
    /// Goes on if the map has the key that starts in the first register, and puts what belongs
    /// to it into the second.
    Find(u32, &'static str, u32),
    /// Sends it to the address and port in these registers instead; `NFPROTO_*` first.
    Redirect(u32, u32, u32),
    /// Makes it look as if sent from here.
    Masquerade,
    /// Decides, or goes to another chain.
    Decide(Verdict),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This chain has no objection.
    Accept,
    /// It goes no further.
    Drop,
    /// Back to where this chain was called from.
    Return,
    /// First through this chain.
    Jump(&'static str),
}

/// `IPPROTO_*` and the like as the kernel numbers them.
pub(super) const ESTABLISHED: u32 = 1 << 1;
pub(super) const RELATED: u32 = 1 << 2;
/// `IPS_DST_NAT`.
pub(super) const TRANSLATED: u32 = 1 << 5;
/// `RTN_LOCAL`.
pub(super) const LOCAL: u32 = 2;
pub(super) const IPV4: u32 = 2;
pub(super) const IPV6: u32 = 10;

impl Expression {
    /// Writes it as one element of a rule's list.
    pub(super) fn write(&self, list: &mut Attributes<'_>) {
        match self {
            Self::Load(value, register) => value.write(*register, list),
            Self::Equal(register, bytes) => compare(list, *register, EQUAL, bytes),
            Self::AnyOf(register, bits) => {
                mask(list, *register, bits.to_ne_bytes());
                compare(list, *register, NOT_EQUAL, &[0; 4]);
            }
            Self::Loopback4(register) => {
                mask(list, *register, [255, 0, 0, 0]);
                compare(list, *register, EQUAL, &[127, 0, 0, 0]);
            }
            Self::In(register, set) => lookup(list, *register, set, None, 0),
            Self::NotIn(register, set) => lookup(list, *register, set, None, 1),
            Self::Find(register, map, into) => lookup(list, *register, map, Some(*into), 0),
            Self::Redirect(family, address, port) => expression(list, "nat", |nat| {
                nat.number(1, 1);
                nat.number(2, *family);
                nat.number(3, *address);
                nat.number(5, *port);
            }),
            Self::Masquerade => expression(list, "masq", |_| {}),
            Self::Decide(verdict) => expression(list, "immediate", |immediate| {
                // Register 0 is where verdicts go.
                immediate.number(1, 0);
                immediate.nest(2, |data| data.nest(2, |inner| verdict.write(inner)));
            }),
        }
    }
}

impl Value {
    fn write(self, register: u32, list: &mut Attributes<'_>) {
        let meta = |list: &mut Attributes<'_>, key: u32| {
            expression(list, "meta", |meta| {
                meta.number(1, register);
                meta.number(2, key);
            });
        };
        let payload = |list: &mut Attributes<'_>, base: u32, offset: u32, length: u32| {
            expression(list, "payload", |payload| {
                payload.number(1, register);
                payload.number(2, base);
                payload.number(3, offset);
                payload.number(4, length);
            });
        };
        let connection = |list: &mut Attributes<'_>, key: u32| {
            expression(list, "ct", |ct| {
                ct.number(1, register);
                ct.number(2, key);
            });
        };
        match self {
            Self::InputName => meta(list, 6),
            Self::OutputName => meta(list, 7),
            Self::Family => meta(list, 15),
            Self::Protocol => meta(list, 16),
            Self::Source4 => payload(list, NETWORK, 12, 4),
            Self::Destination4 => payload(list, NETWORK, 16, 4),
            Self::Source6 => payload(list, NETWORK, 8, 16),
            Self::Destination6 => payload(list, NETWORK, 24, 16),
            Self::DestinationPort => payload(list, TRANSPORT, 2, 2),
            Self::DestinationKind => expression(list, "fib", |fib| {
                fib.number(1, register);
                fib.number(2, ADDRESS_KIND);
                fib.number(3, OF_DESTINATION);
            }),
            Self::ConnectionState => connection(list, 0),
            Self::ConnectionStatus => connection(list, 2),
        }
    }
}

impl Verdict {
    fn write(self, verdict: &mut Attributes<'_>) {
        let code: i32 = match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Return => -5,
        };
        verdict.bytes(1, &code.to_be_bytes());
        if let Self::Jump(chain) = self {
            verdict.text(2, chain);
        }
    }
}

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

/// Where a payload's offset counts from.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// What `fib` looks up.
const ADDRESS_KIND: u32 = 3;
const OF_DESTINATION: u32 = 1 << 1;

fn expression(list: &mut Attributes<'_>, name: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
    // Each element of the list has kind 1.
    list.nest(1, |expression| {
        expression.text(1, name);
        expression.nest(2, fill);
    });
}

fn compare(list: &mut Attributes<'_>, register: u32, how: u32, bytes: &[u8]) {
    expression(list, "cmp", |cmp| {
        cmp.number(1, register);
        cmp.number(2, how);
        cmp.nest(3, |data| data.bytes(1, bytes));
    });
}

fn mask(list: &mut Attributes<'_>, register: u32, bits: [u8; 4]) {
    expression(list, "bitwise", |bitwise| {
        bitwise.number(1, register);
        bitwise.number(2, register);
        bitwise.number(3, 4);
        bitwise.nest(4, |data| data.bytes(1, &bits));
        bitwise.nest(5, |data| data.bytes(1, &[0; 4]));
    });
}

fn lookup(list: &mut Attributes<'_>, register: u32, set: &str, into: Option<u32>, flags: u32) {
    expression(list, "lookup", |lookup| {
        lookup.text(1, set);
        lookup.number(2, register);
        if let Some(into) = into {
            lookup.number(3, into);
        }
        if flags != 0 {
            lookup.number(5, flags);
        }
    });
}
