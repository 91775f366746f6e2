//! The ioctls we answer: chattr's flags, project attributes, and who serves this mount.
//!
//! ```text
//!   FS_IOC_GETFLAGS, FS_IOC_SETFLAGS          lsattr, chattr
//!   FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR      project quota, xfs_io
//!   SERVER                                    ours: asked by `layerfs unmount`
//!   STATS                                     ours: asked by `layerfs stats`
//!   all others                                ENOTTY
//! ```
//!
//! Since Linux 5.13 the kernel answers the first four through `fileattr`; it wants exactly as many bytes as it names
//! in `out_size`, and the flags are 32 bits there although the number of the command says `long`.

use super::dispatch::Service;
use crate::error::{Error, Result};
use crate::types::{NodeId, ProjectAttr};

const GETFLAGS: u32 = 0x8008_6601;
const SETFLAGS: u32 = 0x4008_6602;
const GETFLAGS_32: u32 = 0x8004_6601;
const SETFLAGS_32: u32 = 0x4004_6602;
const FSGETXATTR: u32 = 0x801c_581f;
const FSSETXATTR: u32 = 0x401c_5820;

/// `_IOR('L', 0, [u64; 2])`: process id and pid namespace (inode number) of the layerfs daemon.
pub(super) const SERVER: u32 = 0x8010_4c00;

/// Bytes that [`STATS`] has room for; the number of a command can name at most 16383.
pub(super) const STATS_SIZE: usize = 0x3ffc;
/// `_IOR('L', 1, [u8; STATS_SIZE])`: [`super::Statistics`] as JSON, NULs after it.
pub(super) const STATS: u32 = 0xbffc_4c01;

/// What an ioctl answers, and whether it changed the inode behind the kernel's back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) data: Vec<u8>,
    pub(super) changed: bool,
}

impl Answer {
    fn read(data: Vec<u8>) -> Self {
        Self {
            data,
            changed: false,
        }
    }

    fn changed() -> Self {
        Self {
            data: Vec::new(),
            changed: true,
        }
    }
}

/// Answers `command` on `node`.
///
/// # Errors
/// [`Error::UnknownIoctl`] for a command we do not know, [`Error::Invalid`] if the sizes do not fit.
pub(super) fn answer(
    service: &Service,
    node: NodeId,
    command: u32,
    input: &[u8],
    out_size: usize,
) -> Result<Answer> {
    let file_system = &service.file_system;
    let answer = match command {
        GETFLAGS | GETFLAGS_32 => {
            Answer::read(file_system.inode_flags(node)?.to_ne_bytes().to_vec())
        }
        SETFLAGS | SETFLAGS_32 => {
            file_system.set_inode_flags(node, word(input, 0)?)?;
            Answer::changed()
        }
        FSGETXATTR => Answer::read(encode_project(&file_system.project_attr(node)?).to_vec()),
        FSSETXATTR => {
            file_system.set_project_attr(node, &decode_project(input)?)?;
            Answer::changed()
        }
        SERVER => {
            let server = service.server.ok_or(Error::UnknownIoctl)?;
            Answer::read(server.iter().flat_map(|word| word.to_ne_bytes()).collect())
        }
        STATS => Answer::read(statistics(service)?),
        _ => return Err(Error::UnknownIoctl),
    };
    if answer.data.len() > out_size {
        Err(Error::Invalid)
    } else {
        Ok(answer)
    }
}

fn statistics(service: &Service) -> Result<Vec<u8>> {
    let (nodes, copy_ups) = (service.file_system.nodes(), service.file_system.copy_ups());
    let told = service
        .stats
        .told(service.transport, nodes as u64, copy_ups);
    serde_json::to_vec(&told).map_err(|_| Error::Damaged)
}

/// The 32-bit word at `index` of `bytes`.
fn word(bytes: &[u8], index: usize) -> Result<u32> {
    let bytes = bytes.get(index * 4..index * 4 + 4).ok_or(Error::Invalid)?;
    Ok(u32::from_ne_bytes(
        bytes.try_into().map_err(|_| Error::Invalid)?,
    ))
}

/// `struct fsxattr`: five words and eight bytes of padding.
fn encode_project(attr: &ProjectAttr) -> [u8; 28] {
    let words = [
        attr.xflags,
        attr.extsize,
        attr.nextents,
        attr.projid,
        attr.cowextsize,
    ];
    let mut bytes = [0; 28];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn decode_project(bytes: &[u8]) -> Result<ProjectAttr> {
    Ok(ProjectAttr {
        xflags: word(bytes, 0)?,
        extsize: word(bytes, 1)?,
        nextents: word(bytes, 2)?,
        projid: word(bytes, 3)?,
        cowextsize: word(bytes, 4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_the_kernels() {
        assert_eq!(libc::FS_IOC_GETFLAGS as u32, GETFLAGS);
        assert_eq!(libc::FS_IOC_SETFLAGS as u32, SETFLAGS);
        assert_eq!(libc::FS_IOC32_GETFLAGS as u32, GETFLAGS_32);
        assert_eq!(libc::FS_IOC32_SETFLAGS as u32, SETFLAGS_32);
    }

    #[test]
    fn project_attributes_survive_both_ways() {
        let attr = ProjectAttr {
            xflags: 1,
            extsize: 2,
            nextents: 3,
            projid: 4,
            cowextsize: 5,
        };
        assert_eq!(decode_project(&encode_project(&attr)), Ok(attr));
        assert_eq!(decode_project(&[0; 19]), Err(Error::Invalid));
    }
}
