//! A1: what is in a file, by every way of reading and writing, on lower and upper files.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use tests::layers::Layer;
use tests::stage::{Stage, code, raw};
use tests::sys;

/// A file of 100 kB with a pattern in the lower, and one like it made in the session.
const FILES: [&str; 2] = ["lower", "fresh"];

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn stage() -> Stage {
    let stage = Stage::new(&[Layer::new()
        .file("lower", pattern(100_000))
        .file("empty", "")]);
    stage.both(|root| fs::write(root.join("fresh"), pattern(100_000)).unwrap());
    stage
}

fn rw(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Does `work` on both kinds of file on both trees, then compares the trees, also remounted.
#[track_caller]
fn on_files<T: PartialEq + std::fmt::Debug>(work: impl Fn(&Path) -> T) {
    let mut stage = stage();
    for name in FILES {
        stage.both(|root| (name, work(&root.join(name))));
    }
    stage.same_after_remount();
}

#[test]
fn a1_reads_at_every_edge() {
    on_files(|path| {
        let file = File::open(path).unwrap();
        [
            0,
            1,
            4095,
            4096,
            4097,
            65_535,
            65_536,
            99_999,
            100_000,
            100_001,
            1 << 40,
        ]
        .map(|at| {
            let mut buffer = [0; 5000];
            let n = file.read_at(&mut buffer, at).unwrap();
            buffer[..n].to_vec()
        })
    });
}

#[test]
fn a1_writes_at_every_edge() {
    on_files(|path| {
        let file = rw(path);
        for (i, at) in [0, 4095, 50_000, 65_533, 99_998, 100_500, 300_000]
            .into_iter()
            .enumerate()
        {
            file.write_all_at(&pattern(i * 1000 + 1), at).unwrap();
        }
        file.metadata().unwrap().len()
    });
}

#[test]
fn a1_truncate_down_up_and_down() {
    on_files(|path| {
        let file = rw(path);
        for size in [99_999, 5000, 4096, 70_000, 1, 0, 12_345] {
            file.set_len(size).unwrap();
        }
        code(file.set_len(u64::MAX >> 1)).is_err()
    });
}

#[test]
fn a1_truncate_by_path_of_a_file_only_read_before() {
    on_files(|path| {
        let mut before = File::open(path).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(10).unwrap();
        drop(file);
        let mut content = Vec::new();
        before.read_to_end(&mut content).unwrap();
        content
    });
}

#[test]
fn a1_appends_of_many_writers_lose_nothing() {
    let stage = Stage::new(&[Layer::new().file("log", "start\n")]);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = stage.m("log");
            scope.spawn(move || {
                let mut file = OpenOptions::new().append(true).open(path).unwrap();
                for i in 0..250 {
                    file.write_all(format!("{writer} {i} {}\n", "x".repeat(i % 90)).as_bytes())
                        .unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(stage.m("log")).unwrap();
    assert_eq!(text.lines().count(), 1001);
    for writer in 0..4 {
        let own: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with(&format!("{writer} ")))
            .collect();
        for (i, line) in own.iter().enumerate() {
            assert_eq!(
                *line,
                format!("{writer} {i} {}", "x".repeat(i % 90)),
                "torn or lost"
            );
        }
        assert_eq!(own.len(), 250);
    }
}

#[test]
fn a1_append_with_an_offset_and_o_append_by_fcntl() {
    on_files(|path| {
        let file = OpenOptions::new()
            .append(true)
            .read(true)
            .open(path)
            .unwrap();
        file.write_all_at(b"end", 0).unwrap();
        let other = rw(path);
        rustix::fs::fcntl_setfl(&other, rustix::fs::OFlags::APPEND).unwrap();
        (&other).write_all(b"by fcntl").unwrap();
        file.metadata().unwrap().len()
    });
}

#[test]
fn a1_fallocate_in_all_modes() {
    let modes = [
        FallocateFlags::empty(),
        FallocateFlags::KEEP_SIZE,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        FallocateFlags::ZERO_RANGE,
        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        FallocateFlags::PUNCH_HOLE,
    ];
    for mode in modes {
        on_files(|path| {
            let file = rw(path);
            let at = |offset, length| raw(rustix::fs::fallocate(&file, mode, offset, length));
            (
                at(4096, 8192),
                at(99_000, 10_000),
                at(10, 20),
                at(0, 0),
                file.metadata().unwrap().len(),
            )
        });
    }
}

#[test]
fn a1_holes_are_found() {
    let mut stage = stage();
    for name in FILES {
        stage.both(|root| {
            let file = rw(&root.join(name));
            file.set_len(1 << 20).unwrap();
            file.write_all_at(b"island", 600_000).unwrap();
            file.sync_all().unwrap();
            let find = |from: SeekFrom| match from {
                SeekFrom::Start(at) => {
                    let data = raw(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)));
                    let hole = raw(rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(at)));
                    (data, hole)
                }
                _ => unreachable!(),
            };
            [0, 50_000, 131_072, 600_000, 700_000, 1 << 20, 1 << 21]
                .map(|at| find(SeekFrom::Start(at)))
        });
    }
    stage.same_after_remount();
}

#[test]
fn a1_holes_are_taken_for_data_where_writes_are_held_back() {
    let stage = Stage::with(&[Layer::new()], &["io=writeback"]);
    let file = File::create(stage.m("f")).unwrap();
    file.write_all_at(b"island", 600_000).unwrap();
    // Nothing of it has been sent yet.
    let seek = |from| raw(rustix::fs::seek(&file, from));
    assert_eq!(seek(rustix::fs::SeekFrom::Data(0)), Ok(0));
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(0)), Ok(600_006));
    let end = rustix::fs::SeekFrom::Data(600_006);
    assert_eq!(seek(end), Err(libc::ENXIO));
}

/// The kernel keeps the times of a file whose writes it holds back: what it said once holds, though the
/// data is written to the upper later.
#[test]
fn a2_times_set_while_writes_are_held_back_stay() {
    let mut stage = Stage::with(
        &[Layer::new()
            .file("lower", "of a layer")
            .file("big", vec![b'x'; 100_000])],
        &["io=writeback"],
    );
    for name in ["lower", "big", "fresh"] {
        stage.both(|root| {
            let path = root.join(name);
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path);
            let file = file.unwrap();
            file.write_all_at(b"held back", 4).unwrap();
            let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_400_000_000, 123_456_789);
            let times = fs::FileTimes::new().set_accessed(then).set_modified(then);
            file.set_times(times).unwrap();
        });
    }
    stage.same_after_remount();
}

#[test]
fn a1_copy_file_range_inside_and_across() {
    let mut stage = stage();
    stage.both(|root| {
        let (a, b) = (rw(&root.join("lower")), rw(&root.join("fresh")));
        let copy = |from: &File, mut at: u64, to: &File, mut to_at: u64, length: usize| {
            let mut left = length;
            while left > 0 {
                match rustix::fs::copy_file_range(from, Some(&mut at), to, Some(&mut to_at), left) {
                    Ok(0) => break,
                    Ok(n) => left -= n,
                    Err(e) => return Err(e.raw_os_error()),
                }
            }
            Ok(length - left)
        };
        vec![
            copy(&a, 0, &b, 50_000, 30_000),
            copy(&b, 10, &b, 200_000, 999),
            copy(&b, 0, &b, 10, 1000), // overlapping: EINVAL
            copy(&a, 99_990, &b, 0, 500),
        ]
    });
    stage.same_after_remount();
}

#[test]
fn a1_shared_and_private_mappings() {
    let mut stage = stage();
    for name in FILES {
        stage.both(|root| {
            let file = rw(&root.join(name));
            let mut private = sys::Mapping::new(file.as_fd(), 100_000, false).unwrap();
            private.bytes()[5] = 77;
            let mut shared = sys::Mapping::new(file.as_fd(), 100_000, true).unwrap();
            shared.bytes()[70_000..70_005].copy_from_slice(b"MAPPD");
            shared.sync().unwrap();
            let mut seen = [0; 5];
            file.read_exact_at(&mut seen, 70_000).unwrap();
            file.write_all_at(b"W", 80_000).unwrap();
            let original = File::open(root.join(name)).unwrap();
            let mut fifth = [0];
            original.read_exact_at(&mut fifth, 5).unwrap();
            (seen, shared.bytes()[80_000], fifth, private.bytes()[5])
        });
    }
    stage.same_after_remount();
}

#[test]
fn a1_a_mapping_made_before_the_copy_up_can_be_read() {
    let stage = stage();
    let file = rw(&stage.m("lower"));
    let mut mapping = sys::Mapping::new(file.as_fd(), 100_000, true).unwrap();
    assert_eq!(mapping.bytes()[1000], pattern(100_000)[1000]);
    rw(&stage.m("lower")).write_all_at(b"!", 0).unwrap();
    assert_eq!(mapping.bytes()[1000], pattern(100_000)[1000]);
}

#[test]
fn a1_direct_io() {
    let mut stage = stage();
    for name in FILES {
        stage.both(|root| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_DIRECT)
                .open(root.join(name))
                .unwrap();
            let mut block = sys::aligned(4096, b'D');
            file.write_all_at(block.bytes(), 8192).unwrap();
            let mut back = sys::aligned(8192, 0);
            let n = file.read_at(back.bytes(), 4096).unwrap();
            drop(file);
            (n, back.bytes().to_vec())
        });
    }
    stage.same_after_remount();
}

#[test]
fn a1_sendfile_and_splice() {
    let stage = stage();
    for name in FILES {
        stage.both(|root| {
            let from = File::open(root.join(name)).unwrap();
            let to = File::create(root.join(format!("{name}-copy"))).unwrap();
            let mut offset = 100;
            let mut sent = 0;
            while sent < 50_000 {
                sent += rustix::fs::sendfile(&to, &from, Some(&mut offset), 50_000 - sent).unwrap();
            }
            let script = format!(
                "cat {name} | head -c 12345 | md5sum; cat < {name} >> copied; md5sum copied"
            );
            tests::process::run(
                std::process::Command::new("sh")
                    .args(["-c", &script])
                    .current_dir(root),
            )
            .ok()
        });
    }
}

#[test]
fn a1_descriptors_opened_before_and_after_copy_up_see_one_file() {
    // C5 asks for it; the first issue asks for A1: what is written can be read.
    let stage = stage();
    let before = File::open(stage.m("lower")).unwrap();
    let mut first = [0; 4];
    before.read_exact_at(&mut first, 0).unwrap();
    rw(&stage.m("lower")).write_all_at(b"NEWS", 0).unwrap();
    let mut buffer = [0; 4];
    before.read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(
        &buffer, b"NEWS",
        "C5: an fd opened before the copy-up shows old content"
    );
    let meta = before.metadata().unwrap();
    assert_eq!(meta.ino(), fs::metadata(stage.m("lower")).unwrap().ino());
}

#[test]
fn a1_modes_of_opening() {
    let mut stage = stage();
    stage.both(|root| {
        let open = |name: &str, flags: i32| {
            let mut options = OpenOptions::new();
            options
                .read(flags & libc::O_WRONLY == 0)
                .write(flags & (libc::O_WRONLY | libc::O_RDWR) != 0);
            code(options.custom_flags(flags).open(root.join(name)).map(drop))
        };
        vec![
            open("lower", libc::O_RDONLY | libc::O_EXCL),
            open("lower", libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL),
            open("lower", libc::O_WRONLY | libc::O_CREAT),
            open("missing", libc::O_WRONLY),
            open(".", libc::O_WRONLY),
            open(".", libc::O_RDONLY | libc::O_DIRECTORY),
            open("lower", libc::O_RDONLY | libc::O_DIRECTORY),
            open("lower/x", libc::O_RDONLY),
            open("lower", libc::O_RDWR | libc::O_SYNC),
            open("empty", libc::O_WRONLY | libc::O_TRUNC),
            open("lower", libc::O_RDONLY | libc::O_NOATIME),
            open("lower", libc::O_PATH),
        ]
    });
    stage.same_after_remount();
}

#[test]
fn a1_sync_of_everything_works() {
    let stage = stage();
    stage.both(|root| {
        let file = rw(&root.join("lower"));
        (&file).write_all(b"x").unwrap();
        let directory = File::open(root).unwrap();
        (
            code(file.sync_all()),
            code(file.sync_data()),
            code(directory.sync_all()),
            raw(rustix::fs::syncfs(&file)),
        )
    });
}

#[test]
fn a1_position_and_size_are_shared_by_duplicates() {
    on_files(|path| {
        let mut file = rw(path);
        let mut twin = file.try_clone().unwrap();
        file.seek(SeekFrom::End(-3)).unwrap();
        twin.write_all(b"abcdef").unwrap();
        (
            file.stream_position().unwrap(),
            twin.seek(SeekFrom::End(0)).unwrap(),
        )
    });
}

#[test]
fn a8_a_running_program_cannot_be_written() {
    let stage = Stage::new(&[Layer::new().dir("bin")]);
    fs::copy("/bin/sleep", stage.m("bin/sleep")).unwrap();
    fs::copy("/bin/sleep", stage.p("bin/sleep")).unwrap();
    stage.both(|root| {
        let mut command = std::process::Command::new(root.join("bin/sleep"));
        let running = tests::process::Running::start(command.arg("100"));
        let write = code(
            OpenOptions::new()
                .write(true)
                .open(root.join("bin/sleep"))
                .map(drop),
        );
        drop(running);
        let open = rw(&root.join("bin/sleep"));
        let run = code(
            std::process::Command::new(root.join("bin/sleep"))
                .arg("0")
                .output()
                .map(drop),
        );
        drop(open);
        (write, run)
    });
}
