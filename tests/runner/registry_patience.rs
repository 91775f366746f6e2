//! `pull` and `push` on a bad day: credentials, tokens, broken connections, two at once, kill -9.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tests::container::Runner;
use tests::httpd::{Body, Reply, Request, Server};
use tests::layers::Layer;
use tests::process::{Running, wait_until};
use tests::registry::{Image, Packing, archive, digest};

use super::registry_hostile::{call, command, image, kept, log_in, pull, serve};

/// The request's password or token, if it is the right one.
fn proves(request: &Request, wanted: &str) -> bool {
    request.header("authorization") == Some(wanted)
}

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

#[test]
fn credentials_stay_where_they_belong() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let elsewhere = Arc::new(serve(&image, Box::new(|_, _| None)));
    let host = elsewhere.host();
    let registry = serve(
        &image,
        Box::new(move |_, request| {
            if !proves(request, BASIC) {
                return Some(Reply::new(401, "").header("www-authenticate", "Basic realm=x"));
            }
            let moved = request.target.contains("/blobs/");
            moved.then(|| {
                Reply::new(307, "").header("location", format!("http://{host}{}", request.target))
            })
        }),
    );
    let line = pull(&runner, &registry).one_line_error(125);
    assert!(line.contains("runner login"), "{line}");
    log_in(&runner, &registry.host());
    pull(&runner, &registry).ok();
    assert!(
        registry
            .requests()
            .iter()
            .any(|request| proves(request, BASIC))
    );
    let there = elsewhere.requests();
    assert_eq!(there.len(), 3, "configuration and two layers: {there:?}");
    for request in there {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

/// A registry with tokens: given for the right password, taken once each if `once`.
fn with_tokens(image: &Image, honest: bool) -> Server {
    let given = Arc::new(AtomicUsize::new(0));
    serve(
        image,
        Box::new(move |_, request| {
            let host = request.header("host").unwrap();
            if request.target.starts_with("/token") {
                let right = proves(request, BASIC) && request.target.contains("account=user");
                let scope = request.target.contains("scope=repository%3Aname%3Apull");
                assert!(
                    scope && request.target.contains("service=the%20service"),
                    "{}",
                    request.target
                );
                let number = given.fetch_add(1, Ordering::SeqCst);
                let token = json!({"token": format!("t{number}"), "expires_in": 60});
                let error = json!({"errors": [{"code": "DENIED", "message": "wrong password"}]});
                return Some(if right {
                    Reply::new(200, token.to_string())
                } else {
                    Reply::new(401, error.to_string())
                });
            }
            // Tokens get old: only the latest holds.
            let latest = format!("Bearer t{}", given.load(Ordering::SeqCst).wrapping_sub(1));
            let old = request.target.contains("/blobs/") && given.load(Ordering::SeqCst) == 1;
            if honest && proves(request, &latest) && !old {
                return None;
            }
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="the service""#);
            Some(Reply::new(401, "").header("www-authenticate", challenge))
        }),
    )
}

#[test]
fn tokens_are_bought_renewed_and_not_for_ever() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let server = with_tokens(&image, true);
    let line = pull(&runner, &server).one_line_error(125);
    assert!(line.contains("wrong password"), "{line}");
    log_in(&runner, &server.host());
    pull(&runner, &server).ok();
    let bought = server.count("GET", "/token");
    assert!((2..8).contains(&bought), "bought {bought} tokens");

    let endless = with_tokens(&image, false);
    log_in(&runner, &endless.host());
    let line = pull(&runner, &endless).one_line_error(125);
    assert!(line.contains("access denied"), "{line}");
    assert!(
        endless.requests().len() < 10,
        "{:?}",
        endless.requests().len()
    );
}

/// What a layer's n-th request is answered with, if not honestly.
type Day = fn(usize, &[u8], &Request) -> Option<Reply>;

/// A registry that has this day with the image's last layer.
fn serve_a_day(image: &Image, day: Day) -> Server {
    let asked = AtomicUsize::new(0);
    serve(
        image,
        Box::new(move |image, request| {
            let (bytes, _) = image.layers.last().unwrap();
            let own = request.target.ends_with(&digest(bytes));
            let n = own.then(|| asked.fetch_add(1, Ordering::SeqCst))?;
            day(n, bytes, request)
        }),
    )
}

#[test]
fn a_bad_day_is_no_failure() {
    let cases: Vec<(&str, Day)> = vec![
        ("busy", |n, _, _| {
            (n < 3).then(|| Reply::new([500, 503, 429][n], "").header("retry-after", "0"))
        }),
        ("cut, then the rest", |n, bytes, request| {
            assert_eq!(request.range().is_some(), n > 0, "{request:?}");
            let start = request.range().unwrap_or(0);
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            let reply = Reply::new(if n > 0 { 206 } else { 200 }, &bytes[start..]);
            (n < 3).then(|| {
                reply
                    .header("content-range", range)
                    .body(Body::Cut(300_000))
            })
        }),
        ("cut, then all of it", |n, bytes, _| {
            Some(Reply::new(200, bytes).body(if n < 2 {
                Body::Cut(700_000)
            } else {
                Body::Whole
            }))
        }),
        ("in chunks", |_, bytes, _| {
            Some(Reply::new(200, bytes).body(Body::Chunked))
        }),
        ("no answer at first", |n, bytes, _| {
            Some(Reply::new(200, bytes).body(if n < 2 { Body::Nothing } else { Body::Whole }))
        }),
    ];
    thread::scope(|scope| {
        for (name, day) in cases {
            scope.spawn(move || {
                let runner = Runner::new();
                let image = image(&runner, Packing::Gzip);
                let server = serve_a_day(&image, day);
                let out = pull(&runner, &server);
                assert_eq!(out.code, 0, "{name}: {out}");
                let ids = call(&runner, "images", &["-q", "--no-trunc"]).ok();
                assert!(ids.contains(&image.id()), "{name}: {ids}");
            });
        }
    });
}

#[test]
fn two_that_pull_the_same_fetch_it_once() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let pulls = Arc::new(AtomicUsize::new(0));
    let seen = pulls.clone();
    let server = serve(
        &image,
        Box::new(move |_, request| {
            if request.target.contains("/manifests/") {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            if request.target.contains("/blobs/") {
                // Not before both are at it.
                wait_until(Duration::from_secs(60), || seen.load(Ordering::SeqCst) == 2);
            }
            None
        }),
    );
    let outs = thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| pull(&runner, &server)));
        both.map(|one| one.join().unwrap())
    });
    outs.iter().for_each(|out| drop(out.ok()));
    for (bytes, _) in &image.layers {
        assert_eq!(server.count("GET", &digest(bytes)), 1);
    }
    assert_eq!(
        kept(&runner)
            .iter()
            .filter(|name| name.starts_with("registry/"))
            .count(),
        0
    );
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_in_the_way() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let server = serve_a_day(&image, |n, bytes, _| {
        (n == 0).then(|| Reply::new(200, bytes).body(Body::Stall(500_000)))
    });
    let last = digest(&image.layers[1].0);
    let name = format!("{}/name:1", server.host());
    let mut running = Running::start(&mut command(&runner, "pull", &["-q", &name]));
    assert!(wait_until(Duration::from_secs(60), || server
        .count("GET", &last)
        == 1));
    running.signal(rustix::process::Signal::KILL);
    running.wait(Duration::from_secs(60));
    assert_eq!(call(&runner, "images", &["-q"]).ok(), "");
    pull(&runner, &server).ok();
    assert!(
        kept(&runner)
            .iter()
            .all(|name| !name.contains(".tmp-") && !name.starts_with("registry/"))
    );
}

#[test]
fn what_was_there_stays_when_a_later_pull_fails() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let pulled = Arc::new(AtomicUsize::new(0));
    let flag = pulled.clone();
    let other = Image::new(
        &[archive(
            &Layer::new()
                .file("x", "y")
                .write(runner.scratch.join("other")),
        )],
        Packing::Gzip,
        "amd64",
    );
    let server = serve(
        &image,
        Box::new(move |_, request| {
            let broken = Reply::new(200, vec![0; other.layers[0].0.len()]);
            let layer = request.target.ends_with(&digest(&other.layers[0].0));
            let second = flag.load(Ordering::SeqCst) > 0;
            second.then(|| if layer { broken } else { other.serve(request) })
        }),
    );
    pull(&runner, &server).ok();
    let before = call(&runner, "images", &["--digests"]).out();
    let listed = call(&runner, "images", &["-q", "--no-trunc"]).ok();
    pulled.store(1, Ordering::SeqCst);
    pull(&runner, &server).one_line_error(125);
    assert_eq!(call(&runner, "images", &["-q", "--no-trunc"]).ok(), listed);
    assert_eq!(call(&runner, "images", &["--digests"]).out(), before);
    assert!(listed.contains(&image.id()));
}

/// A registry that takes uploads, and loses the connection of some pieces.
struct Taking {
    got: std::sync::Mutex<Vec<u8>>,
    breaks: AtomicUsize,
}

#[test]
fn a_push_goes_on_where_it_broke() {
    let runner = Runner::new();
    // Three pieces: noise does not pack.
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..18 << 17)
        .flat_map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state ^ (state >> 33)).to_le_bytes()
        })
        .collect();
    let tree = Layer::new()
        .file("noise", noise)
        .write(runner.scratch.join("tree"));
    let taking = Arc::new(Taking {
        got: std::sync::Mutex::default(),
        breaks: AtomicUsize::new(2),
    });
    let server = {
        let taking = taking.clone();
        Server::start(move |request| take(&taking, request))
    };
    let name = format!("{}/name:1", server.host());
    call(&runner, "import", &[tree.to_str().unwrap(), &name]).ok();
    call(&runner, "push", &[&name]).ok();
    assert_eq!(taking.breaks.load(Ordering::SeqCst), 0);
    let pieces = server
        .requests()
        .into_iter()
        .filter(|r| r.method == "PATCH");
    assert!(pieces.count() >= 5, "three pieces, two of them twice");
    let got = taking.got.lock().unwrap().clone();
    let requests = server.requests();
    let last = requests
        .iter()
        .find(|r| r.method == "PUT" && r.target.contains("/up1") && r.target.contains("digest="))
        .unwrap();
    let told = last
        .target
        .split("digest=")
        .nth(1)
        .unwrap()
        .replace("%3A", ":");
    assert_eq!(digest(&got), told, "what arrived is what was meant");
    let manifest = requests
        .iter()
        .find(|r| r.target.contains("/manifests/"))
        .unwrap();
    let manifest: Value = serde_json::from_slice(&manifest.body).unwrap();
    assert_eq!(manifest["layers"][0]["digest"], told);
    assert_eq!(manifest["layers"][0]["size"], got.len());
}

fn take(taking: &Taking, request: &Request) -> Reply {
    let mut got = taking.got.lock().unwrap();
    let range = |got: &Vec<u8>| format!("0-{}", got.len().saturating_sub(1));
    match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        "POST" => {
            // The configuration goes its own way.
            let at = if got.is_empty() {
                "/v2/name/blobs/uploads/up1?a=b"
            } else {
                "/v2/name/blobs/uploads/up2"
            };
            Reply::new(202, "").header("location", at)
        }
        "PATCH" => {
            let start: usize = request
                .header("content-range")
                .unwrap()
                .split('-')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(start, got.len(), "pieces follow each other");
            // In the middle of the second and of the third piece the connection breaks, and half is there.
            let breaks = !got.is_empty()
                && taking.breaks.load(Ordering::SeqCst) > 0
                && request.body.len() > 1 << 20;
            if breaks {
                taking.breaks.fetch_sub(1, Ordering::SeqCst);
                got.extend(&request.body[..request.body.len() / 2]);
                return Reply::new(202, "").body(Body::Nothing);
            }
            got.extend(&request.body);
            Reply::new(202, "")
                .header("location", "/v2/name/blobs/uploads/up1?a=b")
                .header("range", range(&got))
        }
        "GET" if request.target.contains("/uploads/") => Reply::new(204, "")
            .header("location", "/v2/name/blobs/uploads/up1?a=b")
            .header("range", range(&got)),
        "PUT" => {
            assert!(
                request.target.contains("/manifests/")
                    || request.target.contains("digest=sha256%3A")
            );
            Reply::new(201, "")
        }
        _ => Reply::new(200, "{}"),
    }
}

#[test]
fn a_push_that_is_refused_says_why() {
    let runner = Runner::new();
    let tree = Layer::new()
        .file("x", "y")
        .write(runner.scratch.join("tree"));
    let denied = json!({"errors": [{"code": "DENIED", "message": "read only"}]}).to_string();
    let cases: [(&str, u16, &str, &str); 4] = [
        ("POST", 403, "/uploads/", "access denied"),
        ("POST", 405, "/uploads/", "answers 405"),
        ("PUT", 400, "digest=", "answers 400"),
        ("PUT", 413, "/manifests/", "answers 413"),
    ];
    for (method, status, part, why) in cases {
        let text = denied.clone();
        let server = Server::start(move |request| {
            if request.method == method && request.target.contains(part) {
                return Reply::new(status, text.clone());
            }
            match request.method.as_str() {
                "HEAD" => Reply::new(404, ""),
                "POST" => Reply::new(202, "").header("location", "/v2/name/blobs/uploads/1"),
                "PUT" => Reply::new(201, ""),
                _ => Reply::new(200, "{}"),
            }
        });
        let name = format!("{}/name:1", server.host());
        call(&runner, "import", &[tree.to_str().unwrap(), &name]).ok();
        let line = call(&runner, "push", &["-q", &name]).one_line_error(125);
        assert!(line.contains(why) && line.contains("read only"), "{line}");
    }
}
