//! What everyday programs do, on the union and on a plain tree: the same output, the same end.

use std::path::Path;
use std::process::Command;

use tests::layers::Layer;
use tests::process::{call, run};
use tests::stage::Stage;

/// Shell lines, each run in the root of the tree.
const LINES: &[&str] = &[
    "cp -a old copy && diff -r old copy && ls -A copy | sort",
    "rsync -aHAX --delete old/ synced/ && rsync -aHAXn --itemize-changes old/ synced/",
    "tar cf t.tar old && mkdir x && tar xpf t.tar -C x && diff -r old x/old && rm t.tar",
    "mv old/sub moved && mv copy old/copied && find . -type f | sort",
    "cd x && git init -q . && git config user.email a@b && git config user.name n && git add -A && \
     git commit -qm one && git status --porcelain && git fsck 2>&1 | tail -1 && git gc -q && \
     git checkout -q -b other && git rm -rq old && git commit -qm two && git checkout -q - && \
     git status --porcelain && diff -r old ../synced | head -3",
    "sed -i s/1/one/ old/f1 && sed -i s/2/two/ old/copied/f2 && cat old/f1 old/copied/f2",
    "find old -name 'f*' -newer moved -exec touch -d @1600000000 {} + ; find old | wc -l",
    "find . -path ./x -prune -o -name '*3' -delete; find . -path ./x -prune -o -print | sort",
    "ln old/f1 link && ln link link2 && stat -c '%h %s' link && rm -rf old && stat -c '%h %s' link",
    "cp /bin/true t && ./t && exec 3<>t; ./t 2>&1 | sed 's/.*: //'; exec 3>&-; ./t; echo $?",
    "chattr +i t; rm -f t; echo $?; chattr -i t; chattr +a t; echo a >>t; echo $?; \
     (echo b >t); echo $?; chattr -a t; lsattr t | cut -c1-20",
    "mkdir d && chmod 1777 d && cd d && for i in $(seq 200); do echo $i >f$i; done && \
     for i in $(seq 200); do mv f$i g$i; done && rm g1* && ls | sort",
    "rm -rf x synced; rmdir d 2>&1; rm -r d; ls -A | sort",
];

fn layers() -> [Layer; 2] {
    let (mut top, mut bottom) = (Layer::new().dir("old"), Layer::new().dir("old"));
    for number in 0..60 {
        let text = format!("{number}\n").repeat(number * 40);
        bottom = bottom
            .file(format!("old/f{number}"), &text)
            .file(format!("old/sub/deep/f{number}"), &text);
        if number % 3 == 0 {
            top = top.file(format!("old/f{number}"), "of the top\n");
        }
        if number % 7 == 0 {
            top = top.whiteout(format!("old/sub/deep/f{number}"));
        }
    }
    [
        top,
        bottom.symlink("old/link", "f1").link("old/hard", "old/f2"),
    ]
}

#[test]
fn n2_a1_everyday_programs_end_the_same() {
    let mut stage = Stage::new(&layers());
    for line in LINES {
        let mut said = Vec::new();
        for root in [stage.p(""), stage.m("")] {
            let output = run(Command::new("bash").args(["-c", line]).current_dir(&root));
            let text = format!("{}{}", output.out(), output.err());
            said.push((output.code, text.replace(&*root.to_string_lossy(), "ROOT")));
        }
        assert_eq!(
            said[1], said[0],
            "left: on the union, right: on a plain tree: {line}"
        );
    }
    stage.same_after_remount();
}

/// fio writes blocks in random order and reads them back by their checksums.
#[test]
fn a1_fio_finds_every_block_it_wrote() {
    let stage = Stage::new(&[Layer::new().file("d/direct.0.0", vec![1; 16 << 20])]);
    let verify = |name: &str, more: &[&str]| {
        let directory = format!("--directory={}", stage.m("d").display());
        let name = format!("--name={name}");
        let mut arguments = vec![directory.as_str(), name.as_str()];
        arguments.extend(["--rw=randrw", "--bs=4k", "--size=16m", "--verify=crc32c"]);
        arguments.extend(["--do_verify=1", "--verify_fatal=1", "--verify_state_save=0"]);
        arguments.extend(more);
        call("fio", &arguments).ok();
    };
    verify("direct", &["--ioengine=psync", "--direct=1", "--fsync=64"]);
    verify("mapped", &["--ioengine=mmap"]);
    verify("ring", &["--ioengine=io_uring", "--iodepth=16"]);
    assert!(Path::new(&stage.u("d/direct.0.0")).exists());
}
