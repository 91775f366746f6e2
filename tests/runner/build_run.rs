//! RUN's flags: what `--mount` shows and what of it stays, `--network`, scripts with `#!`; COPY's `--exclude`
//! and `--parents`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::container::Runner;
use tests::process::{LIMIT, Running, run};

use super::build::{build, context, setting, shell};

/// Builds a Dockerfile beside files, under a name.
fn built(runner: &Runner, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> String {
    let mut all = vec![("Dockerfile", dockerfile)];
    all.extend(files);
    let place = context(runner, &all);
    let output = build(runner, &[args, &["-t", "made"]].concat(), &place);
    assert_eq!(output.code, 0, "{output}");
    output.out()
}

/// How many steps were taken from the cache.
fn reused(told: &str) -> usize {
    told.matches("Using cache").count()
}

#[test]
fn a_cache_keeps_what_is_in_it_and_is_in_no_image() {
    let runner = setting();
    let dockerfile = |n: usize| {
        format!(
            "FROM debian\nRUN --mount=type=cache,id=c,target=/new/cache,mode=0711,uid=7 \
             stat -c '%a %u' /new/cache > /seen; echo {n} >> /new/cache/log; cp /new/cache/log /log\n"
        )
    };
    built(&runner, &dockerfile(1), &[], &[]);
    assert_eq!(
        shell(
            &runner,
            "made",
            "cat /log /seen; ls -d /new 2>&1 | grep -c No"
        ),
        "1\n711 7\n1\n"
    );
    built(&runner, &dockerfile(2), &[], &[]);
    assert_eq!(shell(&runner, "made", "cat /log"), "1\n2\n");
    // What is in it does not count for the cache of instructions.
    assert_eq!(reused(&built(&runner, &dockerfile(1), &[], &[])), 1);
    // Another id, another cache.
    let other = "FROM debian\nRUN --mount=type=cache,target=/c ls -A /c | wc -l > /n\n";
    built(&runner, other, &[], &[]);
    assert_eq!(shell(&runner, "made", "cat /n"), "0\n");
    runner.ok("system", &["prune", "-f"]);
    built(&runner, &dockerfile(3), &[], &[]);
    assert_eq!(shell(&runner, "made", "cat /log"), "3\n");
}

#[test]
fn a_cache_begins_as_a_stage_and_waits_or_not() {
    let runner = setting();
    let seeded = "FROM debian AS seed\nRUN mkdir /s && echo seed > /s/file\nFROM debian\n\
        RUN --mount=type=cache,target=/c,from=seed,source=/s cat /c/file > /seen; ! touch /c/file || true\n";
    built(&runner, seeded, &[], &[]);
    assert_eq!(shell(&runner, "made", "cat /seen"), "seed\n");
    let slow = |sharing: &str, n: usize| {
        let text = format!(
            "FROM debian\nRUN --mount=type=cache,id=slow,target=/c,sharing={sharing} \
             ls -A /c | wc -l > /n; touch /c/{n}; sleep 2; rm /c/{n}\n"
        );
        let place = runner.scratch.dir(format!("slow-{sharing}-{n}"));
        fs::write(place.join("Dockerfile"), text).unwrap();
        place
    };
    for (sharing, seen, serial) in [
        ("locked", "0", true),
        ("private", "0", false),
        ("shared", "1", false),
    ] {
        let [first, second] = [1, 2].map(|n| slow(sharing, n));
        let started = Instant::now();
        let mut command: Command = runner.command("build");
        command.args(["-q", "-t", "first", first.to_str().unwrap()]);
        let mut waiting = Running::start(&mut command);
        std::thread::sleep(Duration::from_millis(1200));
        let second = second.to_str().unwrap();
        runner.ok("build", &["-q", "-t", "second", second]);
        assert_eq!(waiting.wait(LIMIT), 0);
        assert_eq!(shell(&runner, "second", "cat /n").trim(), seen, "{sharing}");
        let took = started.elapsed();
        assert!(
            !serial || took >= Duration::from_secs(4),
            "{sharing}: {took:?}"
        );
    }
}

#[test]
fn binds_show_context_stages_and_images_and_change_nothing() {
    let runner = setting();
    let files = [
        ("d/a", "one"),
        ("d/b", "two"),
        ("d/no", "hidden"),
        (".dockerignore", "d/no\n"),
    ];
    let dockerfile = "FROM debian AS tools\nRUN mkdir /t && echo tool > /t/file && ln -s t /link\nFROM debian\n\
        RUN --mount=target=/ctx --mount=source=d/b,target=/one/file \
        --mount=from=tools,source=/link,target=/tools --mount=type=bind,from=other,target=/other,rw \
        ls /ctx/d > /seen; cat /one/file /tools/file >> /seen; ! touch /ctx/x 2>/dev/null; \
        ! touch /tools/x 2>/dev/null; touch /other/x && test -e /other/etc\n";
    runner.ok("tag", &["debian", "other"]);
    built(&runner, dockerfile, &files, &[]);
    let seen = shell(
        &runner,
        "made",
        "cat /seen; ls -d /ctx /one /tools /other 2>/dev/null || true",
    );
    assert_eq!(seen, "a\nb\ntwotool\n");
    assert_eq!(shell(&runner, "other", "ls /x 2>&1 | grep -c No"), "1\n");
    assert_eq!(reused(&built(&runner, dockerfile, &files, &[])), 2);
    // What is bound counts, but for what is left out.
    let mut changed = files;
    changed[2].1 = "hidden still";
    assert_eq!(reused(&built(&runner, dockerfile, &changed, &[])), 2);
    changed[0].1 = "changed";
    assert_eq!(reused(&built(&runner, dockerfile, &changed, &[])), 1);
    assert!(runner.containers().is_empty());
}

#[test]
fn secrets_are_seen_and_never_kept() {
    let runner = setting();
    let key = runner.scratch.join("key");
    fs::write(&key, "very-secret-word").unwrap();
    let dockerfile = "FROM debian\nRUN --mount=type=secret,id=key stat -c '%a %u %s' /run/secrets/key > /seen; \
        tr a-z b-za < /run/secrets/key > /turned\n\
        RUN --mount=type=secret,id=none ls /run/secrets 2>&1 | grep -c No > /missing\n";
    let secret = format!("id=key,src={}", key.display());
    built(&runner, dockerfile, &[], &["--secret", &secret]);
    assert_eq!(
        shell(&runner, "made", "cat /seen /missing /turned"),
        "400 0 16\n1\nwfsz-tfdsfu-xpse"
    );
    let found = run(Command::new("grep")
        .args(["-rl", "very-secret-word"])
        .arg(runner.state()));
    assert_eq!(found.code, 1, "{found}");
    // Another secret makes no other layer.
    fs::write(&key, "other").unwrap();
    let told = built(&runner, dockerfile, &[], &["--secret", &secret]);
    assert_eq!(reused(&told), 2);
    let wanted = "FROM debian\nRUN --mount=type=secret,id=gone,required true\n";
    let place = context(&runner, &[("Dockerfile", wanted)]);
    let output = build(&runner, &[], &place);
    assert!(
        output.code == 125 && output.err().contains("--secret id=gone"),
        "{output}"
    );
    let ssh = "FROM debian\nRUN --mount=type=ssh true\n";
    let output = build(&runner, &[], &context(&runner, &[("Dockerfile", ssh)]));
    assert!(
        output.code == 125 && output.err().contains("ssh is not supported"),
        "{output}"
    );
    for bad in ["src=/x", "id=a,src=/nothing/here", "id=a,env=NOT_SET_HERE"] {
        let output = build(&runner, &["--secret", bad], &place);
        assert!(output.err().contains("--secret"), "{bad}: {output}");
    }
}

#[test]
fn networks_scripts_and_memory() {
    let runner = setting();
    let dockerfile = "FROM debian\n\
        RUN --network=none ls /sys/class/net | tr '\\n' ' ' > /none\n\
        RUN --network=host readlink /proc/self/ns/net > /host\n\
        RUN --mount=type=tmpfs,target=/mem/t,size=64k ! head -c 100000 /dev/zero > /mem/t/f 2>/dev/null\n\
        RUN <<EOF\n#!/usr/bin/perl\nopen(F, '>', '/perl'); print F \"$0\\n\"; close F;\nEOF\n";
    built(&runner, dockerfile, &[], &[]);
    let seen = shell(
        &runner,
        "made",
        "cat /none /perl; ls -d /mem /dev/pipes 2>/dev/null || true",
    );
    assert_eq!(seen, "lo /dev/pipes/script\n");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let seen = shell(&runner, "made", "cat /host");
    assert_eq!(seen.trim(), host.to_str().unwrap());
    assert_eq!(reused(&built(&runner, dockerfile, &[], &[])), 4);
    // The network counts.
    let other = dockerfile.replace("--network=none ", "");
    assert_eq!(reused(&built(&runner, &other, &[], &[])), 0);
}

#[test]
fn copy_leaves_out_and_keeps_paths() {
    let runner = setting();
    let files = [
        ("x/a.txt", "1"),
        ("x/sub/b.md", "2"),
        ("x/sub/c.txt", "3"),
        ("y/a.txt", "4"),
    ];
    let dockerfile = "FROM debian\nCOPY --exclude=*.md --exclude=**/*.md x /out/\n\
        COPY --parents x/a.txt y/*.txt /kept/\nCOPY --parents x/./sub /pivot/\n\
        COPY --exclude=a.txt y/a.txt x/sub/c.txt /some/\n";
    built(&runner, dockerfile, &files, &[]);
    let seen = shell(
        &runner,
        "made",
        "cd /; find out kept pivot some -type f | sort",
    );
    let wanted = "kept/x/a.txt\nkept/y/a.txt\nout/a.txt\nout/sub/c.txt\npivot/sub/b.md\npivot/sub/c.txt\nsome/c.txt\n";
    assert_eq!(seen, wanted);
    let mut changed = files;
    changed[1].1 = "new";
    // What is left out does not count.
    assert_eq!(reused(&built(&runner, dockerfile, &changed, &[])), 2);
}

#[test]
fn archives_of_every_packing() {
    let runner = setting();
    let packings = [
        ("", "cat"),
        (".gz", "gzip"),
        (".xz", "xz"),
        (".bz2", "bzip2"),
        (".zst", "zstd"),
    ];
    let tree = runner.scratch.dir("tree");
    fs::create_dir(tree.join("in")).unwrap();
    fs::write(tree.join("in/file"), "packed").unwrap();
    fs::write(
        tree.join("Dockerfile"),
        "FROM debian\nCOPY in/file /from-context\n",
    )
    .unwrap();
    let mut dockerfile = "FROM debian\n".to_owned();
    let place = context(&runner, &[("text.bz2", "BZh is no archive")]);
    let script = "tar c -C \"$1\" . | $2 > \"$3\"";
    for (end, program) in packings {
        let archive = place.join(format!("b.tar{end}"));
        let paths = [&tree, &archive].map(|path| path.to_str().unwrap());
        tests::process::call("sh", &["-c", script, "-", paths[0], program, paths[1]]).ok();
        dockerfile.push_str(&format!("ADD b.tar{end} /to{end}/\n"));
        let name = format!("imported{end}");
        runner.ok("import", &[paths[1], &name]);
        let made = runner.call("build", &["-q", "-f", "Dockerfile", "-t", "piped", "-"]);
        assert_eq!(made.code, 125, "nothing is piped: {made}");
        let line = format!(
            "{} build -q --root {} -t piped{end} - < {}",
            tools::programs::runner().display(),
            runner.state().display(),
            paths[1]
        );
        tests::process::call("sh", &["-c", &line]).ok();
        assert_eq!(
            shell(&runner, &format!("piped{end}"), "cat /from-context"),
            "packed"
        );
    }
    dockerfile.push_str("ADD text.bz2 /text/\n");
    fs::write(place.join("Dockerfile"), &dockerfile).unwrap();
    assert_eq!(build(&runner, &["-t", "made"], &place).code, 0);
    let seen = shell(&runner, "made", "cat /to*/in/file /text/text.bz2");
    assert_eq!(seen, "packed".repeat(packings.len()) + "BZh is no archive");
    let id = runner.ok("images", &["-q", "--no-trunc", "imported"]);
    let saved = runner.scratch.join("saved");
    runner.ok("save", &["-o", saved.to_str().unwrap(), "imported"]);
    for (program, end) in [("xz", "xz"), ("bzip2", "bz2")] {
        tests::process::call(program, &["-k", saved.to_str().unwrap()]).ok();
        runner.ok("rmi", &["-f", "imported"]);
        let packed = runner.scratch.join(format!("saved.{end}"));
        runner.ok("load", &["-i", packed.to_str().unwrap()]);
        assert_eq!(
            runner.ok("images", &["-q", "--no-trunc", "imported"]),
            id,
            "{end}"
        );
    }
    // The same archive, whatever it was packed with, makes the same layer.
    let layers = packings.map(|(end, _)| {
        let template = "{{json .RootFS.Layers}}";
        let name = format!("imported{end}");
        runner.ok("inspect", &["--type", "image", "-f", template, &name])
    });
    assert!(layers.iter().all(|one| *one == layers[0]), "{layers:?}");
}
