//! From a tar stream to a packed layer, in one pass.
//!
//! ```text
//!   thread: input ──sha256 (digest)──> inflate ──chunks──┐
//!   caller:    ┌── sha256 (diff id) <── archive's bytes <─┘
//!              ├── written to the output as they are
//!              └── members ──> Builder ──> index, footer
//! ```
//!
//! Memory: 16 chunks of 256 KiB, and [`super::builder`]'s some 200 bytes a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use archive::{Archive, Damage, Kind, Member, Packing};
use sha2::{Digest, Sha256};

use super::builder::{Builder, Content, Object};
use super::format::Extent;
use super::source::{Skipped, archive_directory};
use crate::error::PackError;

const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 16;

/// What an archive may bring at most; generous, against bombs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members; and half of the objects, since a member's name can make directories.
    pub members: u64,
    /// Bytes of the archive, inflated.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 20_000_000,
            bytes: 1 << 40,
        }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// SHA-256 of the input as it came, compressed or not.
    pub digest: [u8; 32],
    /// Bytes of the input.
    pub input: u64,
    /// SHA-256 of the archive.
    pub diff_id: [u8; 32],
    /// Bytes of the archive.
    pub archive: u64,
    /// Bytes of file contents.
    pub contents: u64,
    /// Members of the archive.
    pub members: u64,
}

/// Packs a tar archive, plain or packed (see [`Packing`]), read from `input` to its end, into the empty file `output`.
/// Nothing is flushed to disk. `origin` names the input in messages.
///
/// # Errors
/// The input is damaged (with the offset in the archive), too large, or cannot be read; the output
/// cannot be written. What was written is then of no use.
pub fn pack(
    input: impl Read + Send,
    origin: &str,
    output: &mut File,
    limits: Limits,
) -> Result<Packed, PackError> {
    let (packed, hashed) = streamed(origin, output, limits, |chunks| inflate(input, chunks));
    let mut packed = packed?;
    (packed.digest, packed.input) = hashed.map_err(|why| PackError::Input {
        origin: origin.to_owned(),
        why: why.to_string(),
    })?;
    Ok(packed)
}

/// Packs all below `directory`, as [`archive_directory`] writes it, into the empty file `output`, which
/// may lie in it and is left out. Nothing is flushed to disk. Digest and length of the input are those of
/// the archive.
///
/// # Errors
/// Those of [`archive_directory`]; more than `limits`; the output cannot be written.
pub fn pack_directory(
    directory: &Path,
    omit: &[(u64, u64)],
    output: &mut File,
    limits: Limits,
    skipped: &mut Skipped<'_>,
) -> Result<Packed, PackError> {
    let stat = rustix::fs::fstat(&*output).map_err(|errno| PackError::Write {
        source: errno.into(),
    })?;
    let omit = [omit, &[(stat.st_dev, stat.st_ino)]].concat();
    let origin = directory.display().to_string();
    let (packed, archived) = streamed(&origin, output, limits, |chunks| {
        archive_directory(directory, &omit, chunks, skipped)?;
        Ok(())
    });
    match (packed, archived) {
        (Ok(packed), Ok(())) => Ok(Packed {
            digest: packed.diff_id,
            input: packed.archive,
            ..packed
        }),
        // Whoever reads stops at what the other could not write, and the other way round.
        (_, Err(error @ (PackError::Io { .. } | PackError::Input { .. }))) => Err(error),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

/// Takes the archive that `give` gives, in a thread of its own.
fn streamed<T: Send>(
    origin: &str,
    output: &mut File,
    limits: Limits,
    give: impl FnOnce(Chunks) -> T + Send,
) -> (Result<Packed, PackError>, T) {
    std::thread::scope(|scope| {
        let (send, from) = sync_channel(CHUNKS);
        let (back, spare) = sync_channel(CHUNKS);
        let chunks = Chunks {
            send,
            spare,
            chunk: Vec::new(),
        };
        let giver = scope.spawn(move || give(chunks));
        let tee = Tee {
            from,
            back,
            chunk: Vec::new(),
            at: 0,
            output,
            hash: Sha256::new(),
            bytes: 0,
            most: limits.bytes,
            failed: None,
        };
        let taken = take(tee, origin, limits);
        // The channel is closed by now, so it ends whether all was read or not.
        let given = giver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (taken, given)
    })
}

/// Where the archive is put, chunk by chunk; an error ends it for the reader too.
struct Chunks {
    send: SyncSender<io::Result<Vec<u8>>>,
    spare: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        let next = self.spare.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.chunk, next);
        self.chunk.clear();
        let sent = self.send.send(Ok(full));
        sent.map_err(|_| io::Error::other("nobody reads on"))
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.len() == CHUNK {
            self.send()?;
        }
        let take = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..take]);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.chunk.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

/// Reads, hashes and inflates; gives the digest and length of the input.
fn inflate(input: impl Read, mut chunks: Chunks) -> io::Result<([u8; 32], u64)> {
    let mut hashing = BufReader::with_capacity(CHUNK, Hashing::new(input));
    let sent = match inflater(&mut hashing) {
        Ok(mut inflated) => pump(&mut *inflated, &mut chunks),
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        // Whoever reads hears of it where it happened; if he is gone, he has his own reason.
        let _ = chunks.send.send(Err(error));
        return Ok(([0; 32], 0));
    }
    // What follows the compressed stream belongs to the digest too.
    io::copy(&mut hashing, &mut io::sink())?;
    let hashing = hashing.into_inner();
    Ok((hashing.hash.finalize().into(), hashing.bytes))
}

fn inflater<'a>(input: &'a mut (impl BufRead + 'a)) -> io::Result<Box<dyn Read + 'a>> {
    let start = input.fill_buf()?;
    if start.is_empty() {
        return Err(io::Error::other("empty; want a tar archive"));
    }
    Packing::of(start).open(input)
}

fn pump(input: &mut dyn Read, chunks: &mut Chunks) -> io::Result<()> {
    loop {
        chunks.chunk.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < CHUNK {
            match input.read(&mut chunks.chunk[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunks.chunk.truncate(filled);
        if filled == 0 {
            return Ok(());
        }
        chunks.send()?;
    }
}

/// Takes the inflated archive: written, hashed, indexed.
fn take(mut tee: Tee<'_>, origin: &str, limits: Limits) -> Result<Packed, PackError> {
    let write = |source: io::Error| PackError::Write { source };
    let mut builder = Builder::new();
    let read = members(&mut tee, &mut builder, limits);
    if let Some(source) = tee.failed {
        return Err(write(source));
    }
    let members = read.map_err(|trouble| trouble.of(origin))?;
    let (length, diff_id) = (tee.bytes, tee.hash.finalize().into());
    let index = builder
        .finish(length, diff_id)
        .map_err(|why| PackError::Input {
            origin: origin.to_owned(),
            why,
        })?;
    index.write(tee.output).map_err(write)?;
    Ok(Packed {
        digest: [0; 32],
        input: 0,
        diff_id,
        archive: length,
        contents: index.contents,
        members,
    })
}

/// What stops the reading of an archive.
enum Trouble {
    Archive(Damage),
    Member {
        path: Vec<u8>,
        offset: u64,
        why: String,
    },
    Limit(String),
}

impl Trouble {
    fn of(self, origin: &str) -> PackError {
        let origin = origin.to_owned();
        match self {
            Self::Archive(damage) => PackError::Archive {
                origin,
                offset: damage.offset,
                why: damage.why,
            },
            Self::Member { path, offset, why } => PackError::Archive {
                origin,
                offset,
                why: format!("{}: {why}", shown(&path)),
            },
            Self::Limit(why) => PackError::Input { origin, why },
        }
    }
}

fn members(tee: &mut Tee<'_>, builder: &mut Builder, limits: Limits) -> Result<u64, Trouble> {
    let mut archive = Archive::new(tee);
    let mut count = 0;
    while let Some(member) = archive.next().map_err(Trouble::Archive)? {
        count += 1;
        if count > limits.members {
            return Err(Trouble::Limit(format!(
                "more than {} members",
                limits.members
            )));
        }
        let offset = archive.offset();
        let path = member.path.clone();
        let put = match member.kind {
            Kind::HardLink => builder.link(&path, &member.link),
            _ => builder.put(&path, object(member, offset)),
        };
        put.map_err(|why| Trouble::Member { path, offset, why })?;
        // A name of 4 KiB can make 2000 directories.
        if builder.objects() > limits.members.saturating_mul(2) {
            let why = format!("more than {} objects", limits.members.saturating_mul(2));
            return Err(Trouble::Limit(why));
        }
    }
    archive.drain().map_err(Trouble::Archive)?;
    Ok(count)
}

/// A member as an object; its data begins at `offset`.
fn object(member: Member, offset: u64) -> Object {
    let (kind, content) = match member.kind {
        Kind::Directory => (libc::S_IFDIR, Content::Nothing),
        Kind::Symlink => (libc::S_IFLNK, Content::Path(member.link)),
        Kind::Fifo => (libc::S_IFIFO, Content::Nothing),
        Kind::Char => (libc::S_IFCHR, device(member.device)),
        Kind::Block => (libc::S_IFBLK, device(member.device)),
        Kind::File | Kind::HardLink => {
            let mut physical = offset;
            let extents = member.extents.iter().map(|&(logical, length)| {
                let extent = Extent {
                    logical: logical.into(),
                    physical: physical.into(),
                    length: length.into(),
                };
                physical += length;
                extent
            });
            (libc::S_IFREG, Content::Data(member.size, extents.collect()))
        }
    };
    let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (name, value) in member.xattrs {
        let odd = name.is_empty() || name.len() > 255 || name.contains(&0) || value.len() > 1 << 16;
        if odd || archive::is_instruction(&name) {
            continue;
        }
        xattrs.retain(|(known, _)| *known != name);
        xattrs.push((name, value));
    }
    Object {
        mode: kind
            | if kind == libc::S_IFLNK {
                0o777
            } else {
                member.mode
            },
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs,
        content,
    }
}

fn device((major, minor): (u32, u32)) -> Content {
    Content::Device(rustix::fs::makedev(major, minor))
}

/// A path fit for a message.
fn shown(path: &[u8]) -> String {
    path.escape_ascii().to_string()
}

/// The archive as a reader: each chunk is hashed and written when it comes, then read.
struct Tee<'a> {
    from: Receiver<io::Result<Vec<u8>>>,
    back: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    output: &'a mut File,
    hash: Sha256,
    bytes: u64,
    most: u64,
    failed: Option<io::Error>,
}

impl Tee<'_> {
    /// Takes the next chunk; an empty one at the end.
    fn next_chunk(&mut self) -> io::Result<()> {
        let old = std::mem::take(&mut self.chunk);
        self.at = 0;
        // It is only there to be used again.
        let _ = self.back.try_send(old);
        let Ok(chunk) = self.from.recv() else {
            return Ok(());
        };
        self.chunk = chunk?;
        self.bytes += self.chunk.len() as u64;
        if self.bytes > self.most {
            return Err(io::Error::other(format!("more than {} bytes", self.most)));
        }
        self.hash.update(&self.chunk);
        self.output.write_all(&self.chunk).map_err(|error| {
            self.failed = Some(error);
            io::Error::other("the output cannot be written")
        })
    }
}

impl Read for &mut Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            self.next_chunk()?;
        }
        let rest = &self.chunk[self.at..];
        let take = rest.len().min(buffer.len());
        buffer[..take].copy_from_slice(&rest[..take]);
        self.at += take;
        Ok(take)
    }
}

/// Hashes and counts what is read through it.
struct Hashing<R> {
    input: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            hash: Sha256::new(),
            bytes: 0,
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
