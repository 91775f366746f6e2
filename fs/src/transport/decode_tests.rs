//! Messages as the kernel makes them, and bytes that no kernel sends.

use zerocopy::IntoBytes;

use super::*;
use crate::transport::encode;
use crate::types::{Attr, Kind};

/// Every operation we have.
fn opcodes() -> impl Iterator<Item = Opcode> {
    (0..=255).filter_map(Opcode::of)
}

fn message_of(opcode: u32, body: &[u8]) -> Vec<u8> {
    let header = abi::InHeader {
        len: (size_of::<abi::InHeader>() + body.len()) as u32,
        opcode,
        unique: 4,
        nodeid: 77,
        uid: 1000,
        gid: 100,
        pid: 12,
        ..abi::InHeader::default()
    };
    [header.as_bytes(), body].concat()
}

/// The request of a message in one piece, and of the same message in the pieces of a ring.
fn both_ways<'a>(opcode: Opcode, own: &'a [u8], rest: &'a [u8]) -> [String; 2] {
    let whole = message_of(opcode as u32, &[own, rest].concat());
    let (header, body) = message(&whole).expect("a header");
    assert_eq!(header.opcode, Some(opcode));
    let device = format!("{:?}", request(header.opcode, body));
    // On a ring the struct lies in 128 bytes of which the rest is what an older request left.
    let mut own_place = [0xee; 128];
    own_place[..own.len()].copy_from_slice(own);
    let ring = format!(
        "{:?}",
        request(Some(opcode), Body::parted(&own_place, rest))
    );
    [device, ring]
}

#[test]
fn the_header_says_who_asks_about_what() {
    let bytes = message_of(1, b"name\0");
    let (header, _) = message(&bytes).expect("a header");
    assert_eq!((header.unique, header.node), (4, NodeId(77)));
    let caller = header.caller;
    assert_eq!((caller.uid, caller.gid, caller.pid), (1000, 100, 12));
    assert_eq!(message(&bytes[..39]).err(), Some(Fault::Malformed));
}

#[test]
fn names_end_with_a_nul_in_one_piece_and_in_two() {
    let rename = abi::Rename2In {
        newdir: 9,
        flags: 1,
        padding: 0,
    };
    let wanted = "Ok(Rename { name: \"old\", new_parent: NodeId(9), new_name: \"new\", flags: 1 })";
    assert_eq!(
        both_ways(Opcode::Rename2, rename.as_bytes(), b"old\0new\0"),
        [wanted; 2]
    );
    let link = "Ok(Symlink { name: \"link\", target: \"to/there\" })";
    assert_eq!(
        both_ways(Opcode::Symlink, b"", b"link\0to/there\0"),
        [link; 2]
    );
    let lookup = "Ok(Lookup { name: \"n\" })";
    assert_eq!(both_ways(Opcode::Lookup, b"", b"n\0"), [lookup; 2]);
}

#[test]
fn data_is_as_long_as_the_struct_says() {
    let write = abi::WriteIn {
        fh: 3,
        offset: 8,
        size: 4,
        ..abi::WriteIn::default()
    };
    let wanted = |flags| {
        format!("Ok(Write {{ handle: Handle(3), offset: 8, data: [100, 97, 116, 97], {flags} }})")
    };
    let plain = wanted("kill: false, cached: false");
    assert_eq!(
        both_ways(Opcode::Write, write.as_bytes(), b"data"),
        [plain.as_str(); 2]
    );
    let held_back = abi::WriteIn {
        write_flags: flag::WRITE_CACHE | flag::WRITE_KILL_SUIDGID,
        ..write
    };
    let both = wanted("kill: true, cached: true");
    assert_eq!(
        both_ways(Opcode::Write, held_back.as_bytes(), b"data"),
        [both.as_str(); 2]
    );
    let malformed = "Err(Malformed)";
    assert_eq!(
        both_ways(Opcode::Write, write.as_bytes(), b"dat"),
        [malformed; 2]
    );
    let set = abi::SetxattrIn { size: 2, flags: 1 };
    let wanted = "Ok(Setxattr { name: \"user.x\", value: [1, 2], flags: 1 })";
    assert_eq!(
        both_ways(Opcode::Setxattr, set.as_bytes(), b"user.x\0\x01\x02"),
        [wanted; 2]
    );
}

#[test]
fn a_batch_holds_as_many_as_it_says() {
    let batch = abi::BatchForgetIn { count: 2, dummy: 0 };
    let one = abi::ForgetOne {
        nodeid: 5,
        nlookup: 6,
    };
    let body = [batch.as_bytes(), one.as_bytes(), one.as_bytes()].concat();
    let Ok(Request::BatchForget { nodes }) = request(Some(Opcode::BatchForget), Body::whole(&body))
    else {
        panic!("not a batch")
    };
    assert_eq!(nodes.iter().map(|(_, count)| count).sum::<u64>(), 12);
    let short = Body::whole(&body[..body.len() - 1]);
    assert_eq!(
        request(Some(Opcode::BatchForget), short).err(),
        Some(Fault::Malformed)
    );
}

#[test]
fn what_a_setattr_does_not_name_stays() {
    let own = abi::SetattrIn {
        valid: fattr::MODE | fattr::MTIME | fattr::ATIME | fattr::ATIME_NOW,
        mode: libc::S_IFREG | 0o4755,
        size: 1,
        uid: 1,
        mtime: (-2_i64).cast_unsigned(),
        mtimensec: 800_000_000,
        ..abi::SetattrIn::default()
    };
    let change = change(&own);
    assert_eq!(
        (change.mode, change.uid, change.size),
        (Some(0o4755), None, None)
    );
    assert_eq!(change.atime, Some(SetTime::Now));
    let before_the_epoch = Time {
        seconds: -2,
        nanos: 800_000_000,
    };
    assert_eq!(change.mtime, Some(SetTime::At(before_the_epoch)));
}

#[test]
fn device_numbers_survive_both_ways() {
    for (major, minor) in [
        (0, 0),
        (1, 3),
        (8, 255),
        (8, 256),
        (259, 0x12345),
        (4095, 0xfffff),
    ] {
        let rdev = libc::makedev(major, minor);
        let attr = Attr {
            ino: 1,
            kind: Kind::BlockDevice,
            mode: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev,
            size: 0,
            blocks: 0,
            blksize: 4096,
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
        };
        let wire = encode::attributes(&attr, std::time::Duration::ZERO)
            .attr
            .rdev;
        assert_eq!(device_number(wire), rdev, "{major}:{minor}");
    }
    // include/linux/kdev_t.h, new_decode_dev: minor 0x1ff has its high bits above the major.
    assert_eq!(device_number(0x0010_01ff), libc::makedev(1, 0x1ff));
}

/// Bytes that look random and are the same each time (xorshift).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.take(length).collect()
}

#[test]
fn any_bytes_are_a_request_or_a_fault() {
    for opcode in opcodes() {
        for length in (0..260).chain([4096, 70_000]) {
            for body in [
                vec![0; length],
                vec![0xff; length],
                noise(length as u64 + 7, length),
            ] {
                let cut = length / 2;
                let bodies = [Body::whole(&body), Body::parted(&body[..cut], &body[cut..])];
                for body in bodies {
                    // Whatever it is, it is no panic and reads nothing outside (which would be one).
                    let _ = format!("{:?}", request(Some(opcode), body));
                }
            }
        }
        let none = request(Some(opcode), Body::whole(&[]));
        let bare = [
            Opcode::Interrupt,
            Opcode::Destroy,
            Opcode::Readlink,
            Opcode::Statfs,
            Opcode::Opendir,
            Opcode::Releasedir,
            Opcode::Flush,
        ];
        assert_eq!(
            none.is_ok(),
            bare.contains(&opcode),
            "{opcode:?} without a body"
        );
    }
    assert_eq!(request(None, Body::whole(&[])).err(), Some(Fault::Unknown));
}
