//! Images that other tools made (umoci, skopeo in docker's and OCI's forms), layer by layer: packed, and
//! compared with what GNU tar unpacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::layers::Layer;
use tests::mounts::Union;
use tests::packs::{pack, unpack, untar};
use tests::process::run;
use tests::registry::skopeo_copy;
use tests::scratch::Scratch;
use tests::snapshot::{Snapshot, View};

/// Made by `umoci`: a layer of everything, and one that deletes, replaces and hides.
fn layout(scratch: &Scratch) -> PathBuf {
    let layout = scratch.join("layout");
    let image = format!("{}:it", layout.display());
    umoci(&["init", "--layout", layout.to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    let bottom = Layer::new()
        .file("dir/stays", vec![7; 300_000])
        .time(1_600_000_000, 123_456_789)
        .link("dir/other name", "dir/stays")
        .file("dir/gone", "gone")
        .file("dir/changes", "before")
        .file("tree/below/deep", "deep")
        .symlink("dir/link", "s".repeat(300))
        .fifo("dir/fifo")
        .char_device("dir/device", 5, 700)
        .file("suid", "x")
        .mode(0o4755)
        .owner(1, 70_000)
        .xattr("user.x", b"\x00\xff\n=")
        .file(format!("long/{}", "n".repeat(255)), "long")
        .file("caf\u{e9}", "odd");
    let change = |work: &dyn Fn(&Path)| {
        let bundle = scratch.join("bundle");
        umoci(&["unpack", "--image", &image, bundle.to_str().unwrap()]);
        work(&bundle.join("rootfs"));
        umoci(&["repack", "--image", &image, bundle.to_str().unwrap()]);
        fs::remove_dir_all(&bundle).unwrap();
    };
    change(&|root| drop(bottom.write(root)));
    change(&|root| {
        fs::remove_file(root.join("dir/gone")).unwrap();
        fs::remove_dir_all(root.join("tree")).unwrap();
        fs::write(root.join("dir/changes"), "after").unwrap();
        fs::remove_file(root.join("dir/link")).unwrap();
        fs::create_dir(root.join("dir/link")).unwrap();
        fs::hard_link(root.join("dir/stays"), root.join("third name")).unwrap();
    });
    layout
}

fn umoci(args: &[&str]) {
    run(Command::new("umoci").args(args)).ok();
}

/// The layers of an OCI layout, the lowest first.
fn layers_of(layout: &Path) -> Vec<PathBuf> {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        layout.join("blobs/sha256").join(hex)
    };
    let index = read(&layout.join("index.json"));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| blob(&layer["digest"])).collect()
}

/// The layers of what `docker save` would give, the lowest first.
fn layers_of_archive(archive: &Path, to: &Path) -> Vec<PathBuf> {
    untar(archive, to).ok();
    let bytes = fs::read(to.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let layers = manifest[0]["Layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| to.join(layer.as_str().unwrap()))
        .collect()
}

#[test]
fn r1_layers_of_other_tools_are_what_gnu_tar_makes_of_them() {
    let scratch = Scratch::new();
    let layout = layout(&scratch);
    let from = format!("oci:{}:it", layout.display());
    let skopeo = |to: &str, more: &[&str]| {
        skopeo_copy(&[more, &[&from, to]].concat()).ok();
    };
    let (saved, zstd) = (scratch.join("saved.tar"), scratch.join("zstd"));
    skopeo(
        &format!("docker-archive:{}:it:latest", saved.display()),
        &[],
    );
    let compress = ["--dest-compress", "--dest-compress-format", "zstd"];
    skopeo(&format!("oci:{}:it", zstd.display()), &compress);
    // As they say they are compressed.
    let begins = |layers: &[PathBuf], magic: &[u8]| {
        let begins = |layer: &PathBuf| fs::read(layer).unwrap().starts_with(magic);
        layers.iter().all(begins)
    };
    assert!(begins(&layers_of(&layout), b"\x1f\x8b"));
    assert!(begins(&layers_of(&zstd), b"\x28\xb5\x2f\xfd"));
    let images = [
        ("umoci", layers_of(&layout)),
        ("docker", layers_of_archive(&saved, &scratch.dir("saved"))),
        ("zstd", layers_of(&zstd)),
    ];
    let view = View {
        bare_whiteouts: true,
        ..View::plain()
    };
    let mut merged = Vec::new();
    for (tool, layers) in &images {
        assert_eq!(layers.len(), 2, "{tool}");
        let mut lowers = Vec::new();
        for (number, tar) in layers.iter().enumerate() {
            let name = format!("{tool}{number}");
            let lfs = scratch.join(format!("{name}.lfs"));
            pack(tar, &lfs).ok();
            unpack(&lfs, &scratch.join(format!("{name}.ours"))).ok();
            let theirs = scratch.dir(format!("{name}.gnu"));
            untar(tar, &theirs).ok();
            let ours = Snapshot::of(&scratch.join(format!("{name}.ours")), &view);
            Snapshot::of(&theirs, &view).assert_same(&ours, &name);
            lowers.insert(0, lfs);
        }
        let mount = Union::of(&lowers, scratch.dir(tool)).layerfs();
        merged.push(Snapshot::of(mount.path(), &View::plain()));
        mount.unmount();
    }
    // Together they are the image, as umoci unpacks it.
    let bundle = scratch.join("whole");
    let image = format!("{}:it", layout.display());
    umoci(&["unpack", "--image", &image, bundle.to_str().unwrap()]);
    let wanted = Snapshot::of(&bundle.join("rootfs"), &View::plain());
    assert!(wanted.get("dir/gone").is_none() && wanted.get("third name").is_some());
    for (seen, (tool, _)) in merged.iter().zip(&images) {
        wanted.assert_same(seen, &format!("the union of {tool}'s layers"));
    }
}
