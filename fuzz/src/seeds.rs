//! Sound inputs: small ones that have everything the formats know.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use layerfs::layer::packed::{Limits, Pack, merge, pack};
use rustix::fs::MemfdFlags;
use tar::{Builder, EntryType, Header};

use crate::mutate::NUMBERS;

/// What headers say, and members of pax records that lie.
pub(crate) fn tar_words() -> Vec<Vec<u8>> {
    let plain = [
        "..",
        "/",
        ".wh.",
        ".wh..wh..opq",
        "../../x",
        "./",
        "ustar",
        "\0",
        "7777777",
    ];
    let mut words = owned(&plain);
    let keys = [
        "size",
        "uid",
        "mtime",
        "GNU.sparse.size",
        "GNU.sparse.realsize",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
    ];
    let record = |kind, records: &[(&str, &[u8])]| {
        let mut tar = Tar::new(&Header::new_gnu());
        tar.pax(kind, records);
        let mut member = tar.end();
        member.truncate(member.len() - 1024);
        member
    };
    for key in keys {
        for number in NUMBERS {
            words.push(record(b'x', &[(key, number.to_string().as_bytes())]));
        }
    }
    for (key, value) in [
        ("path", "../../x"),
        ("path", "a\0b"),
        ("path", "d/.wh.x/y"),
        ("linkpath", ""),
        ("mtime", "-9223372036854775808.999999999"),
        ("GNU.sparse.map", "0,1,5,1"),
        ("SCHILY.xattr.", "no name"),
        ("SCHILY.xattr.user.a", "b"),
    ] {
        words.push(record(b'x', &[(key, value.as_bytes())]));
        words.push(record(b'g', &[(key, value.as_bytes())]));
    }
    for size in NUMBERS {
        let size = size.to_string();
        let map = format!("0,1,{size},1");
        let sparse = [
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.map", map.as_bytes()),
        ];
        words.push(record(b'x', &sparse));
        words.push(record(b'x', &[sparse[0], ("GNU.sparse.map", b"")]));
    }
    words
}

/// Dockerfile's own.
pub(crate) fn dockerfile_words() -> Vec<Vec<u8>> {
    owned(&[
        "FROM ",
        "RUN ",
        "COPY --from=",
        "ADD ",
        "ARG A=",
        "ENV ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "<<EOF\n",
        "EOF\n",
        "<<-'E'\n",
        "${",
        "${a:-",
        "${a:?",
        "}",
        "\\\n",
        "# escape=`\n",
        "[\"",
        "\"]",
        "\"",
        "'",
        "--mount=",
        "\u{fc}",
    ])
}

/// Of names and patterns.
pub(crate) fn name_words() -> Vec<Vec<u8>> {
    owned(&[
        "/", ":", "@sha256:", "..", "**", "!", "[", "]", "-", "\\", "::", "/udp", "[::1]:",
        "0-65535", "{", "}", "\u{fc}", "\u{0}",
    ])
}

fn owned(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Tar archives.
pub(crate) fn archives() -> Vec<Vec<u8>> {
    let gnu = tree(&Header::new_gnu());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&gnu).unwrap();
    vec![
        tree(&Header::new_ustar()),
        extended(),
        sparse(),
        gzip.finish().unwrap(),
        gnu,
    ]
}

/// Packed layers of the same.
pub(crate) fn packed() -> Vec<Vec<u8>> {
    let one = |archive: Vec<u8>| {
        let mut file = memory();
        pack(&*archive, "seed", &mut file, Limits::default()).unwrap();
        content(file)
    };
    archives().into_iter().map(one).collect()
}

/// Sound layers, kept open at the same descriptors in every process: an index names its layers by
/// their paths, which are `/proc/self/fd/N` here.
pub(crate) fn layers() -> &'static [Pack] {
    static LAYERS: OnceLock<Vec<Pack>> = OnceLock::new();
    LAYERS.get_or_init(|| {
        let keep = |(number, bytes): (i32, Vec<u8>)| {
            let file = memory();
            file.write_all_at(&bytes, 0).unwrap();
            let kept = rustix::io::fcntl_dupfd_cloexec(&file, 900 + number).unwrap();
            let path = format!("/proc/self/fd/{}", kept.into_raw_fd());
            Pack::open(path.as_ref()).unwrap()
        };
        (0..).zip(packed()).map(keep).collect()
    })
}

/// Merged indexes of these, and the layers themselves.
pub(crate) fn merged() -> Vec<Vec<u8>> {
    let layers = layers();
    let one = |layers: &[Pack]| {
        let mut file = memory();
        merge(layers, "/proc/self/fd".as_ref(), &mut file).unwrap();
        content(file)
    };
    let mut seeds = packed();
    seeds.extend([one(layers), one(&layers[..2]), one(&layers[1..4])]);
    seeds
}

fn memory() -> File {
    let fd = rustix::fs::memfd_create("seed", MemfdFlags::CLOEXEC);
    fd.unwrap().into()
}

fn content(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// An archive being made, raw: names that the crate's own checks refuse can be written.
struct Tar(Builder<Vec<u8>>, Header);

impl Tar {
    fn new(like: &Header) -> Self {
        let mut header = like.clone();
        header.set_uid(1000);
        header.set_gid(u32::MAX as u64 - 1);
        header.set_mtime(1_600_000_000);
        Self(Builder::new(Vec::new()), header)
    }

    fn put(&mut self, kind: u8, name: &str, link: &str, data: &[u8]) {
        let mut header = self.1.clone();
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o4755);
        header.set_size(data.len() as u64);
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(5).unwrap();
            header.set_device_minor(700).unwrap();
        }
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
    }

    fn pax(&mut self, kind: u8, records: &[(&str, &[u8])]) {
        let mut data = Vec::new();
        for (key, value) in records {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..).find(|n| n.to_string().len() + rest == *n);
            data.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.put(kind, "pax", "", &data);
    }

    fn end(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Every kind of member, whiteouts, links into the layer and out of it, names twice.
fn tree(like: &Header) -> Vec<u8> {
    let mut tar = Tar::new(like);
    tar.put(b'5', "./", "", b"");
    for directory in ["d", "d/e", "f"] {
        tar.put(b'5', directory, "", b"");
        for file in 0..5 {
            tar.put(b'0', &format!("{directory}/{file}"), "", b"content");
        }
    }
    tar.put(b'0', "large", "", &[7; 5000]);
    tar.put(b'2', "s", "d/e", b"");
    tar.put(b'2', "up", "../../etc", b"");
    tar.put(b'0', "s/through", "", b"through the link");
    tar.put(b'0', "up/there", "", b"");
    tar.put(b'1', "d/h", "d/1", b"");
    tar.put(b'1', "h", "./d/1", b"");
    tar.put(b'1', "out", "not/here", b"");
    tar.put(b'1', ".wh.link", ".wh.gone", b"");
    tar.put(b'0', "d/.wh.gone", "", b"");
    tar.put(b'0', "d/.wh.1", "", b"");
    tar.put(b'0', "f/.wh..wh..opq", "", b"");
    tar.put(b'3', "c", "", b"");
    tar.put(b'4', "b", "", b"");
    tar.put(b'6', "p", "", b"");
    tar.put(b'0', "f", "", b"a file where a directory was");
    tar.put(b'5', "large", "", b"");
    tar.end()
}

/// Long names both ways, pax records of every kind, global ones.
fn extended() -> Vec<u8> {
    let mut tar = Tar::new(&Header::new_gnu());
    let long = "n".repeat(200) + "/" + &"m".repeat(255);
    tar.put(b'L', "././@LongLink", "", format!("{long}\0").as_bytes());
    tar.put(b'0', "cut", "", b"long");
    tar.put(b'K', "././@LongLink", "", format!("{long}\0").as_bytes());
    tar.put(b'1', "hard", "cut", b"");
    tar.pax(b'g', &[("mtime", b"1.5"), ("uid", b"7")]);
    tar.pax(
        b'x',
        &[
            ("path", "caf\u{e9}/x".as_bytes()),
            ("size", b"7"),
            ("mtime", b"-1.000000001"),
            ("uid", b"4294967294"),
            ("SCHILY.xattr.user.a", b"b\n=\0\xff"),
            ("SCHILY.xattr.security.capability", &[1, 0, 0, 2, 10, 0]),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ],
    );
    tar.put(b'0', "file", "", b"content");
    tar.pax(b'x', &[("linkpath", "t".repeat(3000).as_bytes())]);
    tar.put(b'2', "link", "x", b"");
    tar.end()
}

/// Sparse files in the forms of pax and of GNU.
fn sparse() -> Vec<u8> {
    let mut tar = Tar::new(&Header::new_gnu());
    let size = ("GNU.sparse.size", &b"100000"[..]);
    let map = ("GNU.sparse.map", &b"0,4,5000,3,99999,1"[..]);
    tar.pax(b'x', &[size, ("GNU.sparse.numblocks", b"3"), map]);
    tar.put(b'0', "form 0.1", "", b"abcdefgh");
    let pieces = [
        ("GNU.sparse.offset", &b"10"[..]),
        ("GNU.sparse.numbytes", &b"2"[..]),
        ("GNU.sparse.offset", &b"20"[..]),
        ("GNU.sparse.numbytes", &b"6"[..]),
    ];
    tar.pax(b'x', &[&[size][..], &pieces].concat());
    tar.put(b'0', "form 0.0", "", b"abcdefgh");
    let version = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0")];
    let real = [
        ("GNU.sparse.name", &b"form 1.0"[..]),
        ("GNU.sparse.realsize", b"70000"),
    ];
    tar.pax(b'x', &[version, real].concat());
    let mut data = b"2\n100\n5\n60000\n3\n".to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"abcdefgh");
    tar.put(b'0', "GNUSparseFile.0/form 1.0", "", &data);
    let mut old = tar.1.clone();
    old.set_entry_type(EntryType::GNUSparse);
    old.set_path("old form").unwrap();
    old.set_size(8);
    let gnu = old.as_gnu_mut().unwrap();
    gnu.sparse[0].offset.copy_from_slice(b"00000000100\0");
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000010\0");
    gnu.realsize.copy_from_slice(b"00000200000\0");
    old.set_cksum();
    tar.0.append(&old, &b"abcdefgh"[..]).unwrap();
    tar.end()
}

/// Dockerfiles.
pub(crate) fn dockerfiles() -> Vec<Vec<u8>> {
    let texts = [
        "# syntax=docker/dockerfile:1\n# escape=`\nARG V=12\nFROM --platform=linux/amd64 debian:${V} AS base\n\
         RUN --mount=type=cache,target=/x apt-get update && `\n  echo 'a b' \"$V\"\n",
        "FROM a\nENV A=1 B=\"2 3\" C=${A:-x}\nLABEL a=b\nCOPY --from=base --chown=1:2 /a /b ./\n\
         COPY <<EOF <<-'X' /dir/\nhello $A\nEOF\n\tno $A\n\tX\nRUN [\"sh\", \"-c\", \"true\"]\n",
        "FROM scratch\nADD a.tar.gz /\nWORKDIR /x/../y\nUSER nobody:nogroup\nEXPOSE 80/tcp 53/udp 1-5\n\
         VOLUME [\"/v\"]\nENTRYPOINT sh\nCMD [\"a\"]\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/bash\",\"-c\"]\n\
         HEALTHCHECK --interval=5s --retries=3 CMD curl -f localhost\nONBUILD RUN make\nMAINTAINER x\n",
        "FROM a\nRUN <<EOF\nset -e\nfor i in 1 2; do echo ${i}; done\nEOF\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Names, ports, patterns, and an image's configuration.
pub(crate) fn names() -> Vec<Vec<u8>> {
    let digest = "0123456789abcdef".repeat(4);
    let names = format!(
        "debian\ndebian:12-slim\nlocalhost:5000/a/b-c__d:v1\nquay.io/x/y@sha256:{digest}\n\
         docker.io/library/busybox:latest\nsha256:{digest}\n[::1]:5000/x\n"
    );
    let ports = "80\n8080:80\n127.0.0.1:8080:80/tcp\n[::1]::53/udp\n1000-1010:2000-2010\n:80\n";
    let arguments = "512m\n1.5\n0-3,5\n1h30m10.5s\n2024-02-29T12:00:00.123456789Z\n2024-01-01 10:00\n\
         1700000000.5\nweb:1.2.3.4\nweb:host-gateway\n/dev/a:/dev/b:rwm\non-failure:5\n02:42:ac:11:00:02\n\
         fe80::1\nlinux/arm64/v8\n-1\n";
    let patterns = "# comment\n*.o\n!keep.o\n**/target\na/b?/[a-z]/**\n\\#x\n/abs/./..\n";
    let config = r#"{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00.5Z","config":
        {"User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Cmd":null,"Healthcheck":
        {"Test":["CMD","x"],"Interval":5}},"rootfs":{"type":"layers","diff_ids":["sha256:00"]},
        "history":[{"created_by":"x","empty_layer":true}]}"#;
    [&*names, ports, arguments, patterns, config]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
