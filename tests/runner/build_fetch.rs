//! Sources and contexts of a build that are fetched: ADD of addresses, `--checksum`, archives as contexts.

use std::fs;
use std::process::Command;

use tests::httpd::{Body, Reply, Request, Server};
use tests::process::run;
use tests::registry::digest;

use super::build::{build, context, setting, shell};

const TEXT: &str = "what was fetched\n";

/// 2001-09-09, at the second 1 000 000 000.
const CHANGED: &str = "Sun, 09 Sep 2001 01:46:40 GMT";

fn answer(request: &Request, archive: &[u8], broken: &std::sync::atomic::AtomicUsize) -> Reply {
    let file = || Reply::new(200, TEXT).header("Last-Modified", CHANGED);
    match request.target.as_str() {
        "/d/file.txt?x=1" | "/d/file.txt" => file(),
        "/moved" => Reply::new(302, "").header("Location", "/d/file.txt"),
        "/round" => Reply::new(302, "").header("Location", "/round"),
        "/breaks" if broken.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 => {
            file().body(Body::Cut(5))
        }
        "/breaks" => file(),
        "/packed.tar.gz" => Reply::new(200, archive),
        "/Dockerfile" => Reply::new(200, "FROM debian\nRUN echo alone > /alone\n"),
        _ => Reply::new(404, "no such thing"),
    }
}

/// A server of the files, and its `http://HOST`.
fn server(archive: Vec<u8>) -> (Server, String) {
    let broken = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |request| answer(request, &archive, &broken));
    let base = format!("http://{}", server.host());
    (server, base)
}

#[test]
fn add_fetches_files() {
    let runner = setting();
    let (_server, base) = server(b"\x1f\x8bnot unpacked".to_vec());
    let sum = digest(TEXT.as_bytes());
    let dockerfile = format!(
        "FROM debian\nADD {base}/d/file.txt /plain\nADD {base}/d/file.txt?x=1 /dir/\n\
         ADD --checksum={sum} --chmod=644 --chown=7:8 {base}/moved /moved\nADD {base}/breaks /\n\
         ADD {base}/packed.tar.gz /\n"
    );
    let place = context(&runner, &[("Dockerfile", &dockerfile)]);
    let first = build(&runner, &["-t", "made"], &place).ok();
    assert!(!first.contains("Using cache"), "{first}");
    let script = "stat -c '%n %a %u %g %Y' /plain /dir/file.txt /moved /breaks; cat /plain /moved /breaks; \
        head -c 2 /packed.tar.gz | od -An -tx1";
    let seen = shell(&runner, "made", script);
    let time = 1_000_000_000;
    let wanted = format!(
        "/plain 600 0 0 {time}\n/dir/file.txt 600 0 0 {time}\n/moved 644 7 8 {time}\n/breaks 600 0 0 {time}\n\
         {TEXT}{TEXT}{TEXT} 1f 8b\n"
    );
    assert_eq!(seen, wanted);
    let again = build(&runner, &["-t", "made"], &place).ok();
    assert_eq!(again.matches("Using cache").count(), 5, "{again}");
    let other = format!("sha256:{}", "0".repeat(64));
    let before = runner.ok("images", &["-qa"]);
    for (line, says) in [
        (
            format!("ADD --checksum={other} {base}/d/file.txt /x"),
            "not sha256:0000",
        ),
        (
            format!("ADD --checksum=md5:1 {base}/d/file.txt /x"),
            "want sha256:",
        ),
        (
            format!("ADD --checksum={sum} Dockerfile /x"),
            "wants one source",
        ),
        (format!("ADD {base}/nothing /x"), "404"),
        (format!("ADD {base}/round /x"), "redirected more than"),
        (format!("ADD {base}/ /x/"), "in no file name"),
        (format!("COPY {base}/d/file.txt /x"), "ADD fetches files"),
        ("ADD git@example.org:a.git /x".to_owned(), "clone it"),
        ("ADD http://127.0.0.1:1/x /x".to_owned(), "127.0.0.1"),
    ] {
        let place = context(
            &runner,
            &[("Dockerfile", &format!("FROM debian\n{line}\n"))],
        );
        let output = build(&runner, &[], &place);
        let told = output.err();
        assert!(
            output.code == 125 && told.contains("line 2") && told.contains(says),
            "{line}: {output}"
        );
    }
    assert_eq!(runner.ok("images", &["-qa"]), before);
}

#[test]
fn contexts_are_fetched() {
    let runner = setting();
    let tree = runner.scratch.dir("tree");
    fs::write(tree.join("Dockerfile"), "FROM debian\nCOPY data /data\n").unwrap();
    fs::write(tree.join("data"), "of the context").unwrap();
    let packed = run(Command::new("tar")
        .arg("czf")
        .arg("-")
        .arg("-C")
        .arg(&tree)
        .arg("."));
    let (_server, base) = server(packed.stdout);
    runner.ok(
        "build",
        &["-q", "-t", "made", &format!("{base}/packed.tar.gz")],
    );
    assert_eq!(shell(&runner, "made", "cat /data"), "of the context");
    runner.ok(
        "build",
        &["-q", "-t", "alone", &format!("{base}/Dockerfile")],
    );
    assert_eq!(shell(&runner, "alone", "cat /alone"), "alone\n");
    for (at, says) in [
        (format!("{base}/none"), "404"),
        ("https://x.example/a.git".to_owned(), "clone it"),
    ] {
        let output = runner.call("build", &[&at]);
        assert!(
            output.code == 125 && output.err().contains(says),
            "{output}"
        );
    }
    let left = fs::read_dir(runner.state().join("builds")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.len() < 64), "{left:?}");
}
