//! `pull` and `push` against registries that lie, break, or want what is not theirs: one clear line,
//! nothing published, nothing lost; and against honest ones on a bad day, where patience helps.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tests::container::Runner;
use tests::httpd::{Body, Reply, Request, Server};
use tests::layers::Layer;
use tests::process::{self, Output};
use tests::registry::{Image, OCI_INDEX, OCI_MANIFEST, Packing, archive, descriptor, digest};

/// Two layers, the second larger than any buffer.
pub(super) fn image(runner: &Runner, packing: Packing) -> Image {
    let noise: Vec<u8> = (0..600_000_u32)
        .flat_map(|n| n.wrapping_mul(n).to_le_bytes())
        .collect();
    let lower = Layer::new().file("etc/motd", "hello").file("bin/tool", "x");
    let upper = Layer::new()
        .file("srv/noise", noise)
        .file("etc/.wh.motd", "");
    let written = [("lower", lower), ("upper", upper)]
        .map(|(name, layer)| archive(&layer.write(runner.scratch.join(name))));
    Image::new(&written, packing, "amd64")
}

/// `runner VERB ARGS`, with docker's configuration of the test alone.
pub(super) fn command(runner: &Runner, verb: &str, args: &[&str]) -> Command {
    let mut command = runner.command(verb);
    command
        .args(args)
        .env("DOCKER_CONFIG", runner.scratch.join("docker"));
    command
}

pub(super) fn call(runner: &Runner, verb: &str, args: &[&str]) -> Output {
    process::run(&mut command(runner, verb, args))
}

pub(super) fn pull(runner: &Runner, server: &Server) -> Output {
    call(
        runner,
        "pull",
        &["-q", &format!("{}/name:1", server.host())],
    )
}

/// Credentials for a host.
pub(super) fn log_in(runner: &Runner, host: &str) {
    // dXNlcjpzZWNyZXQ= is user:secret.
    let text = json!({"auths": {host: {"auth": "dXNlcjpzZWNyZXQ="}}}).to_string();
    fs::write(runner.scratch.dir("docker").join("config.json"), text).unwrap();
}

/// Files of the store that tell of an image or a layer.
pub(super) fn kept(runner: &Runner) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["images", "tags", "layers", "stacks", "registry/locks"] {
        let entries = fs::read_dir(runner.state().join(part))
            .into_iter()
            .flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        found.extend(
            names
                .filter(|name| !name.ends_with(".lock"))
                .map(|name| format!("{part}/{name}")),
        );
    }
    found
}

pub(super) type Answer = Box<dyn Fn(&Image, &Request) -> Option<Reply> + Send + Sync>;

/// A registry that is honest but for what `answer` says.
pub(super) fn serve(image: &Image, answer: Answer) -> Server {
    let image = image.clone();
    Server::start(move |request| answer(&image, request).unwrap_or_else(|| image.serve(request)))
}

/// Answers for one kind of thing only.
fn on(
    part: &'static str,
    reply: impl Fn(&Image, &Request) -> Reply + Send + Sync + 'static,
) -> Answer {
    Box::new(move |image, request| request.target.contains(part).then(|| reply(image, request)))
}

/// Answers for the last layer only.
fn on_layer(reply: impl Fn(&[u8], &Request) -> Reply + Send + Sync + 'static) -> Answer {
    Box::new(move |image, request| {
        let (bytes, _) = image.layers.last()?;
        request
            .target
            .ends_with(&digest(bytes))
            .then(|| reply(bytes, request))
    })
}

/// A manifest that is sound but for a change.
fn manifest(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Answer {
    on("/manifests/", move |image, _| {
        let mut value = image.document();
        change(&mut value);
        let kind = value["mediaType"]
            .as_str()
            .unwrap_or(OCI_MANIFEST)
            .to_owned();
        Reply::new(200, value.to_string()).header("content-type", kind)
    })
}

/// Pulls once for each case, all at once, since some of them take patience.
#[track_caller]
fn refused(packing: Packing, cases: Vec<(&'static str, Answer, &'static str)>) {
    thread::scope(|scope| {
        let runs = cases.into_iter().map(|(name, answer, why)| {
            let run = move || {
                let runner = Runner::new();
                let image = image(&runner, packing);
                let server = serve(&image, answer);
                let line = pull(&runner, &server).one_line_error(125);
                assert!(line.starts_with("runner: "), "{name}: {line}");
                assert!(line.contains(why), "{name}: {line}");
                assert!(line.contains(&server.host()), "{name}: {line}");
                // Layers that are sound may stay until a sweep, but nothing says that they are an image.
                assert_eq!(call(&runner, "images", &["-q"]).ok(), "", "{name}");
                let kept = kept(&runner);
                let tells = |name: &String| !name.starts_with("layers/") || name.contains(".tmp-");
                assert!(!kept.iter().any(tells), "{name}: {kept:?}");
                let last = digest(&image.layers[1].0);
                assert!(
                    server.requests().len() < 40,
                    "{name}: {last} {}",
                    server.requests().len()
                );
            };
            (name, scope.spawn(run))
        });
        for (name, run) in runs.collect::<Vec<_>>() {
            assert!(run.join().is_ok(), "case {name}");
        }
    });
}

#[test]
fn manifests_that_lie_are_refused() {
    let index = json!([descriptor(b"x", OCI_MANIFEST)]);
    let layer =
        |key: &'static str, value: Value| manifest(move |v| v["layers"][0][key] = value.clone());
    refused(
        Packing::Gzip,
        vec![
            (
                "both kinds",
                manifest(move |v| v["manifests"] = index.clone()),
                "both a manifest and an index",
            ),
            (
                "other kind",
                manifest(|v| v["mediaType"] = json!(OCI_INDEX)),
                "but is a manifest",
            ),
            (
                "foreign",
                layer("urls", json!(["http://127.0.0.1:1/x"])),
                "elsewhere",
            ),
            (
                "foreign kind",
                layer(
                    "mediaType",
                    json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
                ),
                "not fetched",
            ),
            (
                "unknown kind",
                layer("mediaType", json!("application/x-rar")),
                "unknown kind application/x-rar",
            ),
            (
                "no digest",
                layer("digest", json!("sha256:../../../../etc/passwd")),
                "is no digest",
            ),
            (
                "old",
                manifest(|v| v["schemaVersion"] = json!(1)),
                "too old",
            ),
            (
                "no image",
                manifest(|v| v["config"]["mediaType"] = json!("text/plain")),
                "no image of a container",
            ),
            (
                "many layers",
                manifest(|v| v["layers"] = Value::Array(vec![v["layers"][0].clone(); 501])),
                "501 layers",
            ),
            (
                "fewer layers",
                manifest(|v| drop(v["layers"].as_array_mut().unwrap().pop())),
                "tells of 2 layers, its manifest of 1",
            ),
            (
                "huge",
                on("/manifests/", |_, _| {
                    Reply::new(200, vec![b' '; (4 << 20) + 1])
                }),
                "more than 4194304 bytes",
            ),
            (
                "endless",
                on("/manifests/", |_, _| {
                    Reply::new(200, " ").body(Body::Endless)
                }),
                "more than 4194304 bytes",
            ),
            (
                "other digest",
                on("/manifests/", |image, request| {
                    image
                        .serve(request)
                        .header("docker-content-digest", digest(b"other"))
                }),
                "not sha256:",
            ),
            (
                "no JSON",
                on("/manifests/", |_, _| Reply::new(200, "<html>")),
                "no manifest",
            ),
        ],
    );
}

#[test]
fn indexes_that_lie_are_refused() {
    let index = |members: Value| {
        Reply::new(
            200,
            json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": members}).to_string(),
        )
        .header("content-type", OCI_INDEX)
    };
    let here = || json!({"os": "linux", "architecture": "amd64"});
    let entry = move |image: &Image, platform: Value, size: usize| {
        let mut entry = descriptor(&image.manifest, OCI_MANIFEST);
        entry["platform"] = platform;
        entry["size"] = json!(size);
        entry
    };
    refused(
        Packing::Gzip,
        vec![
            (
                "other platforms",
                on("/manifests/1", move |image, _| {
                    index(json!([entry(
                        image,
                        json!({"os": "linux", "architecture": "s390x"}),
                        1
                    )]))
                }),
                "nothing for platform linux/amd64; there is: linux/s390x",
            ),
            (
                "wrong size",
                on("/manifests/1", move |image, _| {
                    index(json!([entry(image, here(), 7)]))
                }),
                "but its index says 7",
            ),
            (
                "wrong digest",
                Box::new(move |image, request| {
                    request.target.contains("/manifests/").then(|| {
                        if request.target.contains("sha256") {
                            Reply::new(200, image.document().to_string() + " ")
                        } else {
                            index(json!([entry(image, here(), image.manifest.len())]))
                        }
                    })
                }),
                "what came has digest",
            ),
        ],
    );
}

#[test]
fn content_that_lies_is_refused() {
    refused(
        // Not packed: else the unpacking would complain first.
        Packing::None,
        vec![
            (
                "wrong digest",
                on_layer(|bytes, _| {
                    let mut bytes = bytes.to_vec();
                    let at = bytes.len() / 2;
                    bytes[at] ^= 1;
                    Reply::new(200, bytes)
                }),
                "what came has digest",
            ),
            (
                "longer",
                on_layer(|bytes, _| Reply::new(200, [bytes, b"x"].concat())),
                "the registry sends",
            ),
            (
                "shorter",
                on_layer(|bytes, _| Reply::new(200, &bytes[..1000])),
                "the registry sends 1000 bytes",
            ),
            (
                "longer, in chunks",
                on_layer(|bytes, _| Reply::new(200, [bytes, b"x"].concat()).body(Body::Chunked)),
                "more than",
            ),
            (
                "endless",
                on_layer(|bytes, _| Reply::new(200, bytes).body(Body::Endless)),
                "more than",
            ),
            (
                "shorter, in chunks",
                on_layer(|bytes, request| match request.range() {
                    Some(_) => Reply::new(206, "").header("content-range", "bytes 1000-"),
                    None => Reply::new(200, &bytes[..1000]).body(Body::Chunked),
                }),
                "nothing of it is kept",
            ),
            (
                "another part",
                on_layer(|bytes, request| match request.range() {
                    Some(_) => Reply::new(206, &bytes[5..]).header("content-range", "bytes 5-9/10"),
                    None => Reply::new(200, bytes).body(Body::Cut(1000)),
                }),
                "another part",
            ),
            (
                "always cut",
                on_layer(|bytes, _| Reply::new(200, bytes).body(Body::Cut(0))),
                "broke 5 times",
            ),
            ("gone", on_layer(|_, _| Reply::new(404, "")), "not found"),
            (
                "packed once more",
                on_layer(|bytes, _| Reply::new(200, bytes).header("content-encoding", "gzip")),
                "packed once more",
            ),
            (
                "configuration",
                on("/blobs/", |image, request| {
                    let own = request.target.ends_with(&digest(&image.config));
                    let lie = String::from_utf8(image.config.clone())
                        .unwrap()
                        .replace("amd64", "arm64");
                    if own {
                        Reply::new(200, lie)
                    } else {
                        image.serve(request)
                    }
                }),
                "what came has digest",
            ),
            (
                "error that paints",
                on_layer(|_, _| {
                    let error = "a\u{1b}[31m\nb".repeat(200);
                    Reply::new(
                        400,
                        json!({"errors": [{"code": "X", "message": error}]}).to_string(),
                    )
                }),
                "answers 400 (a [31m b",
            ),
        ],
    );
}

#[test]
fn a_layer_that_is_another_than_its_image_says_is_refused() {
    let runner = Runner::new();
    let honest = image(&runner, Packing::Gzip);
    let config = String::from_utf8(honest.config.clone()).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["rootfs"]["diff_ids"][1] = json!(digest(b"other"));
    let liar = Image::of(config.to_string().into_bytes(), honest.layers.clone());
    let server = serve(&liar, Box::new(|_, _| None));
    let line = pull(&runner, &server).one_line_error(125);
    assert!(line.contains("its image says sha256:"), "{line}");
    assert_eq!(call(&runner, "images", &["-q"]).ok(), "");
}

#[test]
fn what_is_no_registry_is_told_as_such() {
    let kinds: Vec<(&str, Answer, &str)> = vec![
        (
            "no registry",
            on("/v2/", |_, _| Reply::new(404, "<html>")),
            "no registry (404",
        ),
        (
            "unknown challenge",
            on("/v2/", |_, _| {
                Reply::new(401, "").header("www-authenticate", "Negotiate")
            }),
            "credentials in a way that is not understood",
        ),
        (
            "silent",
            on("/v2/", |_, _| Reply::new(200, "").body(Body::Nothing)),
            "cannot be reached",
        ),
        (
            "round and round",
            on("/manifests/", |_, request| {
                Reply::new(302, "").header("location", request.target.clone())
            }),
            "redirected more than 5 times",
        ),
        (
            "to a file",
            on("/manifests/", |_, _| {
                Reply::new(302, "").header("location", "file:///etc/passwd")
            }),
            "is no address",
        ),
        (
            "with a user in it",
            on("/manifests/", |_, _| {
                Reply::new(302, "").header("location", "http://u:p@127.0.0.1:1/")
            }),
            "is no address",
        ),
    ];
    refused(Packing::Gzip, kinds);
}

#[test]
fn nobody_there_and_names_that_are_none() {
    let runner = Runner::new();
    let image = image(&runner, Packing::Gzip);
    let host = serve(&image, Box::new(|_, _| None)).host();
    let line = call(&runner, "pull", &["-q", &format!("{host}/name")]).one_line_error(125);
    assert!(
        line.contains(&format!("registry {host} cannot be reached")),
        "{line}"
    );
    for name in [
        "",
        "UPPER",
        "a b",
        "x@sha256:1",
        "127.0.0.1:99999/x",
        "a//b",
    ] {
        call(&runner, "pull", &["-q", name]).one_line_error(125);
        call(&runner, "push", &["-q", name]).one_line_error(125);
    }
    let line = call(&runner, "push", &["-q", &format!("{host}/none:1")]).one_line_error(125);
    assert!(line.contains("no such image"), "{line}");
    let line = call(&runner, "pull", &["-q", "--platform", "a/b/c/d", "x"]).one_line_error(125);
    assert!(line.contains("--platform"), "{line}");
}

/// The configuration's kind is docker's or OCI's; a file at its place is neither.
#[test]
fn a_configuration_that_is_none_is_refused() {
    let runner = Runner::new();
    let honest = image(&runner, Packing::Gzip);
    for (config, why) in [
        (&b"no JSON"[..], "cannot be read"),
        (
            br#"{"rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]}}"#,
            "no digest",
        ),
    ] {
        let liar = Image::of(config.to_vec(), honest.layers.clone());
        let server = serve(&liar, Box::new(|_, _| None));
        let line = pull(&runner, &server).one_line_error(125);
        assert!(line.contains(why), "{line}");
    }
    assert!(
        !Path::new(runner.state())
            .join("images")
            .read_dir()
            .unwrap()
            .any(|e| e.unwrap().path().extension().is_some())
    );
}
