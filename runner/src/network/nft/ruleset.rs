//! The one table: its sets, chains and rules. Nothing here changes with containers; what changes
//! are the elements of the sets.
//!
//! ```text
//!   bridges        our bridges
//!   inside         pairs (bridge, same bridge): whoever is on one bridge may talk
//!   internal       bridges that nothing gets out of or into
//!   insiders4/6    bridge, addresses behind it
//!   published4/6   protocol, port               -> address, port     on any address of ours
//!   published4/6_at    address, protocol, port  -> address, port     on one address of ours
//!
//!   prerouting     sent to an address of the machine: published
//!   output         the same for the machine's own programs, but not for loopback addresses,
//!                  which cannot leave the machine: `relay` serves those
//!   published      the maps, one lookup each
//!   forward        into a bridge comes only what was published, answers, and who is on it
//!   postrouting    what leaves the bridges looks as if sent from here; so does what goes back
//!                  into the bridge it came from, or its answer would take the short way and not
//!                  be recognised
//! ```
//!
//! "Accept" only means that this table has no objection; rules of others come after it.

use super::expression::{
    ESTABLISHED, Expression, IPV4, IPV6, LOCAL, RELATED, TRANSLATED, Value, Verdict,
};
use super::message::{Action, Batch};
use Expression::{AnyOf, Decide, Equal, Find, In, Load, Loopback4, Masquerade, NotIn, Redirect};

pub(super) const BRIDGES: &str = "bridges";
pub(super) const INSIDE: &str = "inside";
pub(super) const INTERNAL: &str = "internal";
pub(super) const INSIDERS4: &str = "insiders4";
pub(super) const INSIDERS6: &str = "insiders6";
pub(super) const PUBLISHED4: &str = "published4";
pub(super) const PUBLISHED4_AT: &str = "published4_at";
pub(super) const PUBLISHED6: &str = "published6";
pub(super) const PUBLISHED6_AT: &str = "published6_at";

const PRE_ROUTING: u32 = 0;
const FORWARD: u32 = 2;
const LOCAL_OUT: u32 = 3;
const POST_ROUTING: u32 = 4;

/// Where destinations are translated in the order of a hook.
const DESTINATION: i32 = -100;
/// Where filters sit.
const FILTER: i32 = 0;
/// Where sources are translated.
const SOURCE: i32 = 100;

/// Registers, in units of four bytes.
const A: u32 = 8;
const B: u32 = 9;
const C: u32 = 10;
/// Behind one of four units.
const E: u32 = 12;
const F: u32 = 13;

/// `NFT_MSG_*`.
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;
const NEW_SET: u8 = 9;

/// A field of a set's key or data: the type's number as `nft` prints it, bytes used.
type Field = (u32, u32);

const ADDRESS4: Field = (7, 4);
const ADDRESS6: Field = (8, 16);
const PROTOCOL: Field = (12, 1);
const PORT: Field = (13, 2);
const NAME: Field = (41, 16);

/// A note for `nft`, in its own notation, that keys are in the machine's byte order: without it
/// a lone name would be printed backwards. The kernel only keeps it.
const HOST_ORDER: [u8; 6] = [0, 4, 1, 0, 0, 0];

struct Set {
    name: &'static str,
    key: &'static [Field],
    data: &'static [Field],
    /// The last field of a key is a range.
    ranges: bool,
}

const SETS: [Set; 9] = [
    set(BRIDGES, &[NAME], &[]),
    set(INSIDE, &[NAME, NAME], &[]),
    set(INTERNAL, &[NAME], &[]),
    Set {
        ranges: true,
        ..set(INSIDERS4, &[NAME, ADDRESS4], &[])
    },
    Set {
        ranges: true,
        ..set(INSIDERS6, &[NAME, ADDRESS6], &[])
    },
    set(PUBLISHED4, &[PROTOCOL, PORT], &[ADDRESS4, PORT]),
    set(
        PUBLISHED4_AT,
        &[ADDRESS4, PROTOCOL, PORT],
        &[ADDRESS4, PORT],
    ),
    set(PUBLISHED6, &[PROTOCOL, PORT], &[ADDRESS6, PORT]),
    set(
        PUBLISHED6_AT,
        &[ADDRESS6, PROTOCOL, PORT],
        &[ADDRESS6, PORT],
    ),
];

const fn set(name: &'static str, key: &'static [Field], data: &'static [Field]) -> Set {
    Set {
        name,
        key,
        data,
        ranges: false,
    }
}

struct Chain {
    name: &'static str,
    /// Type, hook, priority; none for a chain that is only called.
    base: Option<(&'static str, u32, i32)>,
}

const PUBLISHED: &str = "published";

const CHAINS: [Chain; 5] = [
    Chain {
        name: PUBLISHED,
        base: None,
    },
    Chain {
        name: "prerouting",
        base: Some(("nat", PRE_ROUTING, DESTINATION)),
    },
    Chain {
        name: "output",
        base: Some(("nat", LOCAL_OUT, DESTINATION)),
    },
    Chain {
        name: "forward",
        base: Some(("filter", FORWARD, FILTER)),
    },
    Chain {
        name: "postrouting",
        base: Some(("nat", POST_ROUTING, SOURCE)),
    },
];

/// Every rule with its chain, in order.
fn rules() -> Vec<(&'static str, Vec<Expression>)> {
    let family = |family: u32| [Load(Value::Family, A), Equal(A, vec![family as u8])];
    let with = |head: [Expression; 2], rest: Vec<Expression>| {
        head.into_iter().chain(rest).collect::<Vec<_>>()
    };
    let to_us = || {
        vec![
            Load(Value::DestinationKind, A),
            Equal(A, LOCAL.to_ne_bytes().to_vec()),
            Decide(Verdict::Jump(PUBLISHED)),
        ]
    };
    let mut loopback6 = [0; 16];
    loopback6[15] = 1;
    let mut rules = published_rules();
    rules.extend([
        ("prerouting", to_us()),
        (
            "output",
            with(
                family(IPV4),
                vec![
                    Load(Value::Destination4, A),
                    Loopback4(A),
                    Decide(Verdict::Return),
                ],
            ),
        ),
        (
            "output",
            with(
                family(IPV6),
                vec![
                    Load(Value::Destination6, A),
                    Equal(A, loopback6.to_vec()),
                    Decide(Verdict::Return),
                ],
            ),
        ),
        ("output", to_us()),
    ]);
    rules.extend(forward_rules().map(|rule| ("forward", rule)));
    let back = |wanted: u32, source: Value, insiders: &'static str| {
        let rest = vec![
            Load(Value::OutputName, A),
            Load(source, E),
            In(A, insiders),
            Load(Value::ConnectionStatus, A),
            AnyOf(A, TRANSLATED),
            Masquerade,
        ];
        ("postrouting", with(family(wanted), rest))
    };
    rules.extend([
        (
            "postrouting",
            vec![
                Load(Value::InputName, A),
                In(A, BRIDGES),
                Load(Value::OutputName, A),
                NotIn(A, BRIDGES),
                Masquerade,
            ],
        ),
        back(IPV4, Value::Source4, INSIDERS4),
        back(IPV6, Value::Source6, INSIDERS6),
    ]);
    rules
}

fn published_rules() -> Vec<(&'static str, Vec<Expression>)> {
    let family = |family: u32| [Load(Value::Family, A), Equal(A, vec![family as u8])];
    let at4 = vec![
        Load(Value::Destination4, A),
        Load(Value::Protocol, B),
        Load(Value::DestinationPort, C),
        Find(A, PUBLISHED4_AT, A),
        Redirect(IPV4, A, B),
    ];
    let any4 = vec![
        Load(Value::Protocol, A),
        Load(Value::DestinationPort, B),
        Find(A, PUBLISHED4, A),
        Redirect(IPV4, A, B),
    ];
    let at6 = vec![
        Load(Value::Destination6, A),
        Load(Value::Protocol, E),
        Load(Value::DestinationPort, F),
        Find(A, PUBLISHED6_AT, A),
        Redirect(IPV6, A, E),
    ];
    let any6 = vec![
        Load(Value::Protocol, A),
        Load(Value::DestinationPort, B),
        Find(A, PUBLISHED6, A),
        Redirect(IPV6, A, E),
    ];
    [(IPV4, at4), (IPV4, any4), (IPV6, at6), (IPV6, any6)]
        .into_iter()
        .map(|(wanted, rest)| (PUBLISHED, family(wanted).into_iter().chain(rest).collect()))
        .collect()
}

fn forward_rules() -> impl Iterator<Item = Vec<Expression>> {
    let known =
        |which: Value, bits: u32| vec![Load(which, A), AnyOf(A, bits), Decide(Verdict::Accept)];
    let name = |which: Value, set: &'static str, verdict: Verdict| {
        vec![Load(which, A), In(A, set), Decide(verdict)]
    };
    [
        known(Value::ConnectionState, ESTABLISHED | RELATED),
        vec![
            Load(Value::InputName, A),
            Load(Value::OutputName, E),
            In(A, INSIDE),
            Decide(Verdict::Accept),
        ],
        name(Value::InputName, INTERNAL, Verdict::Drop),
        name(Value::OutputName, INTERNAL, Verdict::Drop),
        known(Value::ConnectionStatus, TRANSLATED),
        name(Value::OutputName, BRIDGES, Verdict::Drop),
    ]
    .into_iter()
}

/// Adds all of it to a batch that has made the table.
pub(super) fn fill(table: &str, batch: &mut Batch) {
    for (set, id) in SETS.iter().zip(1..) {
        make_set(table, set, id, batch);
    }
    for chain in &CHAINS {
        batch.add(NEW_CHAIN, Action::Make, |attributes| {
            attributes.text(1, table);
            attributes.text(3, chain.name);
            if let Some((kind, hook, priority)) = chain.base {
                attributes.nest(4, |place| {
                    place.number(1, hook);
                    place.bytes(2, &priority.to_be_bytes());
                });
                attributes.text(7, kind);
            }
        });
    }
    for (chain, expressions) in rules() {
        batch.add(NEW_RULE, Action::Append, |attributes| {
            attributes.text(1, table);
            attributes.text(2, chain);
            attributes.nest(4, |list| {
                expressions
                    .iter()
                    .for_each(|expression| expression.write(list));
            });
        });
    }
}

fn make_set(table: &str, set: &Set, id: u32, batch: &mut Batch) {
    const INTERVAL: u32 = 1 << 2;
    const MAP: u32 = 1 << 3;
    const CONCATENATION: u32 = 1 << 7;
    let mut flags = if set.ranges {
        INTERVAL | CONCATENATION
    } else {
        0
    };
    if !set.data.is_empty() {
        flags |= MAP;
    }
    batch.add(NEW_SET, Action::Make, |attributes| {
        attributes.text(1, table);
        attributes.text(2, set.name);
        attributes.number(3, flags);
        attributes.number(4, type_of(set.key));
        attributes.number(5, length_of(set.key));
        if !set.data.is_empty() {
            attributes.number(6, type_of(set.data));
            attributes.number(7, length_of(set.data));
        }
        if set.ranges {
            attributes.nest(9, |description| {
                description.nest(2, |fields| {
                    for (_, length) in set.key {
                        fields.nest(1, |field| field.number(1, *length));
                    }
                });
            });
        }
        attributes.number(10, id);
        if set.key == [NAME] {
            attributes.bytes(13, &HOST_ORDER);
        }
    });
}

/// The number of a concatenated type: six bits per field.
fn type_of(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, (kind, _)| all << 6 | kind)
}

/// Bytes of a concatenation: each field but a lone one fills whole units.
fn length_of(fields: &[Field]) -> u32 {
    match fields {
        [(_, length)] => *length,
        _ => fields
            .iter()
            .map(|(_, length)| length.next_multiple_of(4))
            .sum(),
    }
}
