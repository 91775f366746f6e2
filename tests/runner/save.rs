//! `save`, `load`, `export`: both ways with skopeo, and archives that lie.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::container::Runner;
use tests::layers::Layer;
use tests::process::call;
use tests::registry::skopeo_copy;
use tests::snapshot::{Snapshot, View};

/// A runner with a small image `small`, and its id.
fn setting() -> (Runner, String) {
    let runner = Runner::new();
    let tree = Layer::new()
        .file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("usr/lib/data", vec![7; 300_000])
        .symlink("lib", "usr/lib")
        .write(runner.scratch.join("tree"));
    let id = runner
        .call("import", &[tree.to_str().unwrap(), "small"])
        .ok();
    (runner, id.trim().to_owned())
}

fn path(runner: &Runner, name: &str) -> String {
    runner.scratch.join(name).to_str().unwrap().to_owned()
}

fn ids(runner: &Runner) -> String {
    runner.call("images", &["-q", "--no-trunc"]).ok()
}

/// Diff ids of the only image.
fn layers(runner: &Runner) -> String {
    let id = ids(runner).trim().to_owned();
    runner
        .call("inspect", &["-f", "{{json .RootFS.Layers}}", &id])
        .ok()
}

#[test]
fn a_saved_image_is_loaded_again_and_the_same() {
    let (runner, id) = setting();
    runner
        .call("tag", &["small", "host.example:5000/team/small:v2"])
        .ok();
    let file = path(&runner, "a.tar");
    let both = ["-o", &file, "small", "host.example:5000/team/small:v2"];
    runner.call("save", &both).ok();
    let again = runner.call("save", &["small", "host.example:5000/team/small:v2"]);
    assert_eq!(
        again.stdout,
        fs::read(&file).unwrap(),
        "the same images, other bytes"
    );

    let other = Runner::new();
    let told = other.call("load", &["-i", &file]).ok();
    let wanted = "Loaded image: small:latest\nLoaded image: host.example:5000/team/small:v2\n";
    assert_eq!(told, wanted);
    assert_eq!(ids(&other).trim(), id);
    // By its id it has no name; and what is there already is not read again.
    runner.call("save", &["-o", &file, &id[7..20]]).ok();
    let third = Runner::new();
    let told = third.call("load", &["-i", &file]).ok();
    assert_eq!(told, format!("Loaded image ID: {id}\n"));
    // Nothing of the archive is kept but its layer.
    let images = fs::read_dir(third.state().join("images")).unwrap();
    assert_eq!(images.count(), 1);
}

#[test]
fn skopeo_reads_what_is_saved_and_its_archives_are_loaded() {
    let (runner, _) = setting();
    let [saved, oci, docker, directory] =
        ["a.tar", "oci.tar", "docker.tar", "layout"].map(|name| path(&runner, name));
    runner.call("save", &["-o", &saved, "small"]).ok();
    skopeo_copy(&[
        &format!("docker-archive:{saved}:small:latest"),
        &format!("oci-archive:{oci}:x"),
    ])
    .ok();
    skopeo_copy(&[
        &format!("oci-archive:{saved}:latest"),
        &format!("docker-archive:{docker}:a/b:1"),
    ])
    .ok();
    fs::create_dir(&directory).unwrap();
    call("tar", &["xf", &oci, "-C", &directory]).ok();
    let packed = fs::read(&docker).unwrap();
    for (source, told) in [(&oci, "ID"), (&docker, ": a/b:1\n"), (&directory, "ID")] {
        let other = Runner::new();
        let seen = other.call("load", &["-i", source]).ok();
        assert!(seen.contains(told), "{source}: {seen}");
        // skopeo writes the configuration anew; what the image holds stays.
        assert_eq!(layers(&other), layers(&runner), "{source}");
    }
    let other = Runner::new();
    let mut command = other.command("load");
    let output = tests::process::run_with(&mut command, &packed, tests::process::LIMIT);
    assert_eq!(output.ok(), "Loaded image: a/b:1\n");
}

#[test]
fn an_exported_container_is_its_tree() {
    let (runner, _) = setting();
    let id = runner.call("create", &["small", "/none"]).ok();
    let (file, out) = (path(&runner, "e.tar"), runner.scratch.dir("out"));
    runner.call("export", &["-o", &file, id.trim()]).ok();
    call("tar", &["xf", &file, "-C", out.to_str().unwrap()]).ok();
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    let wanted = Snapshot::of(&runner.scratch.join("tree"), &view);
    let seen = Snapshot::of(&out, &view);
    for name in wanted.names().iter().filter(|name| *name != ".") {
        assert_eq!(seen.get(name), wanted.get(name), "{name}");
    }
    runner.call("export", &["nobody"]).one_line_error(125);
    let there = ["-o", "/nowhere/e.tar", id.trim()];
    runner.call("export", &there).one_line_error(125);
    runner.call("rm", &[id.trim()]).ok();
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Writes an archive of files.
fn archive(path: &str, files: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, data) in files {
        // Owner and time are left empty, as some writers do.
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, &data[..]).unwrap();
    }
    builder.finish().unwrap();
}

fn text(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn archives_that_lie_are_refused_and_publish_nothing() {
    let (runner, _) = setting();
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_dir("etc", "/etc").unwrap();
    let layer = layer.into_inner().unwrap();
    let named = |diff_id: &str| {
        let rootfs = json!({"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]});
        text(&json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}))
    };
    let manifest = |config: &str, layers: &[&str]| {
        let image = json!({"Config": config, "RepoTags": ["bad:1"], "Layers": layers});
        ("manifest.json".to_owned(), text(&json!([image])))
    };
    let (good, other) = (named(&digest(&layer)), named(&"0".repeat(64)));
    let file = |name: &str, data: &[u8]| (name.to_owned(), data.to_vec());
    let layers = ["l.tar"];
    let (l, c) = (file("l.tar", &layer), file("c.json", &good));
    let bad_name = json!([{"Config": "c.json", "RepoTags": ["../x"], "Layers": layers}]);
    let index = |digest: &str, size: usize| {
        let one = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size});
        file(
            "index.json",
            &text(&json!({"schemaVersion": 2, "manifests": [one]})),
        )
    };
    let blob = |data: &[u8]| file(&format!("blobs/sha256/{}", digest(data)), data);
    let both = text(&json!({"schemaVersion": 2, "manifests": [], "layers": []}));
    let both_digest = format!("sha256:{}", digest(&both));
    let cases = [
        ("neither manifest.json nor index.json", vec![l.clone()]),
        ("manifest.json: ", vec![file("manifest.json", b"{")]),
        (
            "c.json is named, but not there",
            vec![manifest("c.json", &layers), l.clone()],
        ),
        (
            "l.tar is named, but not there",
            vec![manifest("c.json", &layers), c.clone()],
        ),
        (
            "1 layers by configuration, 0 by manifest",
            vec![manifest("c.json", &[]), c.clone()],
        ),
        (
            "nothing of it is kept",
            vec![
                manifest("c.json", &layers),
                file("c.json", &other),
                l.clone(),
            ],
        ),
        (
            "cut short",
            vec![
                manifest("c.json", &layers),
                c.clone(),
                file("l.tar", &layer[..300]),
            ],
        ),
        (
            "image configuration",
            vec![
                manifest("c.json", &layers),
                file("c.json", b"[]"),
                l.clone(),
            ],
        ),
        (
            "../x",
            vec![
                file("manifest.json", &text(&bad_name)),
                c.clone(),
                l.clone(),
            ],
        ),
        ("is no digest", vec![index("sha256:../../etc/passwd", 1)]),
        (
            "is named, but not there",
            vec![index(&format!("sha256:{}", "0".repeat(64)), 1)],
        ),
        ("were announced", vec![index(&both_digest, 1), blob(&both)]),
        (
            "neither an index nor a manifest",
            vec![index(&both_digest, both.len()), blob(&both)],
        ),
        (
            "it is sha256:",
            vec![
                index(&both_digest, 1),
                file(&format!("blobs/sha256/{}", digest(&both)), b"x"),
            ],
        ),
    ];
    let before = ids(&runner);
    for (word, files) in cases {
        let source = path(&runner, "bad.tar");
        archive(&source, &files);
        let output = runner.call("load", &["-i", &source]);
        let line = output.one_line_error(125);
        assert!(
            line.contains(word) && line.contains("bad.tar") || word == "../x",
            "{word}: {line}"
        );
        assert_eq!(ids(&runner), before, "{word}");
        let state = fs::read_dir(runner.state().join("images")).unwrap();
        assert_eq!(state.count(), 1, "{word}: something is left");
    }
    // A link out of a directory's layout leads nowhere.
    let layout = runner.scratch.dir("layout");
    std::os::unix::fs::symlink("/etc/passwd", layout.join("manifest.json")).unwrap();
    let args = ["-i", layout.to_str().unwrap()];
    runner.call("load", &args).one_line_error(125);
    assert!(Path::new("/etc/passwd").exists());
    for name in ["host", "nothing"] {
        runner.call("save", &[name]).one_line_error(125);
    }
}
