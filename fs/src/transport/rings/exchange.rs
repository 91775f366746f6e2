//! One entry: the request in it → its answer in it.

use std::cell::RefCell;

use zerocopy::{FromBytes, IntoBytes};

use super::memory::Entry;
use crate::transport::abi::{InHeader, Opcode, OutHeader};
use crate::transport::decode::{self, Body, Fault};
use crate::transport::dispatch::{Outcome, Service};

/// The largest reply that is not written into the payload at once: an attribute of 64 KiB.
const SCRATCH: usize = 68 << 10;

thread_local! {
    /// Where replies are made whose request lies in the payload still.
    static SCRATCH_ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Answers the request of an entry. False: it would have to wait (only if it may not), and nothing was
/// done.
pub(super) fn serve(entry: &mut Entry, service: &Service, may_wait: bool) -> bool {
    let (shared, payload) = entry.parts();
    let Ok((raw, _)) = InHeader::read_from_prefix(&shared.in_out) else {
        return true;
    };
    let header = decode::header(&raw);
    let sent = shared.entry.payload_sz as usize;
    let outcome = if fills_the_payload(header.opcode) {
        let request = decode::request(header.opcode, Body::parted(&shared.op_in, &[]));
        service.answer(&header, request, payload, may_wait)
    } else {
        SCRATCH_ROOM.with_borrow_mut(|room| {
            let rest = payload.get(..sent).ok_or(Fault::Malformed);
            let request = rest
                .and_then(|rest| decode::request(header.opcode, Body::parted(&shared.op_in, rest)));
            let outcome = service.answer(&header, request, room, may_wait);
            if let Outcome::Body(length) = outcome {
                payload[..length].copy_from_slice(&room[..length]);
            }
            outcome
        })
    };
    let (error, length) = match outcome {
        Outcome::Later => return false,
        Outcome::Body(length) => (0, length),
        Outcome::Refused(errno) => (-errno.0, 0),
        Outcome::Silent => (0, 0),
    };
    let out = OutHeader {
        len: (size_of::<OutHeader>() + length) as u32,
        error,
        unique: header.unique,
    };
    shared.in_out[..size_of::<OutHeader>()].copy_from_slice(out.as_bytes());
    shared.entry.payload_sz = length as u32;
    true
}

/// Whether the reply is as large as the request says, and the request itself has nothing in the
/// payload: then the reply is made where it is to lie.
fn fills_the_payload(opcode: Option<Opcode>) -> bool {
    matches!(
        opcode,
        Some(Opcode::Read | Opcode::Readdir | Opcode::Readdirplus)
    )
}
