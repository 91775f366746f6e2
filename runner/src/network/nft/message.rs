//! The bytes of packet filtering messages: headers, attributes, batches.
//!
//! ```text
//!   BATCH_BEGIN  message message …  BATCH_END       all done, or nothing
//!   message   = netlink header, family, attributes
//!   attribute = length, kind, value, padding to 4; a nested one's value is attributes
//! ```
//!
//! Numbers in attributes are big-endian (`linux/netfilter/nf_tables.h`, `nfnetlink.h`).

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST};

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

/// The subsystem of tables, in a batch's marks.
const NFTABLES: u8 = 10;

/// Tables of this family see IPv4 and IPv6.
const INET: u8 = 1;

/// Marks an attribute whose value is attributes.
const NESTED: u16 = 1 << 15;

/// Bytes of a netlink header.
const HEADER: usize = 16;

/// What a message does to what it describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Make it; refused if it is there.
    Make,
    /// Make it, or do nothing.
    Ensure,
    /// Put it behind those that are there.
    Append,
    /// Remove it; refused if it is not there.
    Remove,
}

/// Messages that the kernel does all of, or nothing.
#[derive(Debug)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

/// Attributes being written.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            sequence: 0,
        };
        batch.put(BATCH_BEGIN, 0, 0, u16::from(NFTABLES), |_| {});
        batch
    }

    /// Adds one message about a thing of tables; `kind` is its `NFT_MSG_*`.
    pub(super) fn add(&mut self, kind: u8, action: Action, fill: impl FnOnce(&mut Attributes<'_>)) {
        let flags = match action {
            Action::Make => NLM_F_CREATE | NLM_F_EXCL,
            Action::Ensure => NLM_F_CREATE,
            Action::Append => NLM_F_CREATE | NLM_F_APPEND,
            Action::Remove => 0,
        };
        self.put(u16::from_be_bytes([NFTABLES, kind]), flags, INET, 0, fill);
    }

    /// The finished bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put(BATCH_END, 0, 0, u16::from(NFTABLES), |_| {});
        self.bytes
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn put(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.sequence += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        debug_assert_eq!(self.bytes.len() - start, HEADER + 4);
        fill(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        overwrite(&mut self.bytes, start, &length.to_ne_bytes());
    }
}

/// A question for all there is of a kind; goes out alone, in no batch.
pub(super) fn question(kind: u8) -> Vec<u8> {
    let mut batch = Batch {
        bytes: Vec::new(),
        sequence: 0,
    };
    let kind = u16::from_be_bytes([NFTABLES, kind]);
    batch.put(kind, NLM_F_DUMP, INET, 0, |_| {});
    batch.bytes
}

impl Attributes<'_> {
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.put(kind, |bytes| bytes.extend(value));
    }

    /// A string, with the end mark that the kernel wants.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.put(kind, |bytes| {
            bytes.extend(value.as_bytes());
            bytes.push(0);
        });
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute made of attributes. Its value must stay below 64 KiB.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.put(kind | NESTED, |bytes| fill(&mut Attributes { bytes }));
    }

    fn put(&mut self, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self.bytes);
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "attribute too long");
        let told = u16::try_from(length).unwrap_or(u16::MAX);
        overwrite(self.bytes, start, &told.to_ne_bytes());
        self.bytes.resize(start + length.next_multiple_of(4), 0);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_padding() {
        let mut batch = Batch::new();
        let begin = batch.len();
        batch.add(0, Action::Make, |table| {
            table.text(1, "run");
            table.nest(2, |inner| inner.bytes(3, &[7]));
            table.number(4, 1);
        });
        let bytes = batch.finish();
        let message = &bytes[begin..bytes.len() - 20];
        // Header and family 20, text 8, nest 4 + 8 (1 byte and padding), number 8.
        assert_eq!(message.len(), 48);
        assert_eq!(message[..4], 48_u32.to_ne_bytes());
        assert_eq!(message[20..28], [8, 0, 1, 0, b'r', b'u', b'n', 0]);
        assert_eq!(message[28..40], [12, 0, 2, 0x80, 5, 0, 3, 0, 7, 0, 0, 0]);
        assert_eq!(message[40..], [8, 0, 4, 0, 0, 0, 0, 1]);
    }
}
