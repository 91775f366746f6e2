//! `system check`: each fault is made by hand, named, and mended where that loses nothing.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::container::Runner;
use tests::layers::Layer;

/// Two images of one layer each, and a container of the first that has changed something.
struct Setting {
    runner: Runner,
    /// Ids of the images, without `sha256:`.
    ids: [String; 2],
}

impl Setting {
    fn new() -> Self {
        let runner = Runner::new();
        let ids = ["one", "two"].map(|name| {
            Layer::new()
                .file("data", vec![name.as_bytes()[0]; 100_000])
                .dir("usr")
                .write(runner.scratch.join(name));
            import(&runner, name)
        });
        runner.ok("create", &["--name", "con", "-v", "kept:/kept", "one", "x"]);
        let setting = Self { runner, ids };
        fs::write(setting.container().join("upper/changed"), "precious").unwrap();
        setting
    }

    fn at(&self, path: &str) -> PathBuf {
        self.runner.state().join(path)
    }

    fn container(&self) -> PathBuf {
        self.at("containers").join(&self.runner.containers()[0])
    }

    /// The file of an image's only layer.
    fn layer(&self, image: usize) -> PathBuf {
        let config = fs::read(self.at(&format!("images/{}.json", self.ids[image]))).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let id = config["rootfs"]["diff_ids"][0].as_str().unwrap();
        self.at(&format!("layers/{}.lfs", id.trim_start_matches("sha256:")))
    }

    /// The exit code, and what was found: code, problem or not, state.
    fn check(&self, flags: &[&str]) -> (i32, Vec<(String, bool, String)>) {
        let mut args = vec!["check", "--format", "json"];
        args.extend(flags);
        let output = self.runner.call("system", &args);
        let found: Vec<Value> =
            serde_json::from_str(&output.out()).unwrap_or_else(|e| panic!("{e}: {output}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let found = found.iter().map(|one| {
            let problem = one["problem"].as_bool().unwrap();
            (text(&one["code"]), problem, text(&one["state"]))
        });
        (output.code, found.collect())
    }

    /// Exactly this is found, and mended by a repair.
    #[track_caller]
    fn mends(&self, codes: &[&str]) {
        let (code, found) = self.check(&[]);
        let seen = codes_of(&found);
        assert_eq!(seen, codes, "{found:?}");
        assert!(found.iter().all(|one| one.2 == "mendable"), "{found:?}");
        assert_eq!(code, i32::from(found.iter().any(|one| one.1)));
        assert_eq!(self.check(&[]), (code, found), "a check changes nothing");
        let (code, found) = self.check(&["--repair"]);
        assert!(
            code == 0 && found.iter().all(|one| one.2 == "mended"),
            "{found:?}"
        );
        self.clean();
    }

    /// Exactly this is found, and left alone by a repair.
    #[track_caller]
    fn leaves(&self, wanted: &[&str]) {
        for flags in [&[][..], &["--repair"]] {
            let (code, found) = self.check(flags);
            let seen = codes_of(&found);
            assert_eq!(seen, wanted, "{found:?}");
            assert!(found.iter().all(|one| one.2 == "left"), "{found:?}");
            assert_eq!(code, i32::from(found.iter().any(|one| one.1)));
        }
        self.precious();
    }

    #[track_caller]
    fn clean(&self) {
        assert_eq!(self.check(&[]), (0, Vec::new()));
        self.precious();
    }

    #[track_caller]
    fn precious(&self) {
        let text = fs::read_to_string(self.container().join("upper/changed"));
        assert_eq!(text.unwrap(), "precious");
    }

    fn images(&self) -> String {
        self.runner
            .ok("images", &["--format", "{{.Repository}}"])
            .trim()
            .to_owned()
    }
}

/// The words for what was found.
fn codes_of(found: &[(String, bool, String)]) -> Vec<&str> {
    found.iter().map(|one| one.0.as_str()).collect()
}

/// Imports the tree of that name in the scratch; gives the id without `sha256:`.
fn import(runner: &Runner, name: &str) -> String {
    let tree = runner.scratch.join(name);
    let id = runner.ok("import", &[tree.to_str().unwrap(), name]);
    id.trim().trim_start_matches("sha256:").to_owned()
}

/// Turns one bit in the middle of a file around; twice is as before.
fn flip(path: &Path) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 50_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 50_000).unwrap();
}

#[test]
fn layers() {
    let mut setting = Setting::new();
    setting.clean();
    flip(&setting.layer(1));
    assert_eq!(
        setting.check(&["--quick"]),
        (0, Vec::new()),
        "nobody has read it"
    );
    let (code, found) = setting.check(&[]);
    assert_eq!(
        (code, found.len(), found[0].0.as_str()),
        (1, 1, "layer-damaged")
    );
    let text = setting.runner.call("system", &["check", "--repair"]);
    assert!(
        text.code == 0 && text.out().contains("repaired: "),
        "{text}"
    );
    assert_eq!(setting.images(), "one");
    setting.clean();
    setting.ids[1] = import(&setting.runner, "two");
    setting.clean();

    // One that a container needs stays, even so.
    flip(&setting.layer(0));
    setting.leaves(&["layer-damaged"]);
    flip(&setting.layer(0));
    setting.clean();

    // One that is not there at all: its image is still shown, can be removed, and is not run.
    let [one, two] = [setting.layer(0), setting.layer(1)];
    fs::remove_file(&two).unwrap();
    assert_eq!(setting.images().lines().count(), 2);
    let refused = setting.runner.run(&["--pull", "never", "two", "x"]);
    assert!(refused.err().contains("missing"), "{refused}");
    setting.runner.ok("rmi", &["two"]);
    setting.clean();
    setting.ids[1] = import(&setting.runner, "two");
    fs::remove_file(two).unwrap();
    setting.mends(&["image-incomplete"]);
    assert_eq!(setting.images(), "one");
    fs::rename(&one, setting.runner.scratch.join("aside")).unwrap();
    let (_, found) = setting.check(&["--quick"]);
    let codes = codes_of(&found);
    assert_eq!(codes, ["image-incomplete", "container-layers"]);
    fs::rename(setting.runner.scratch.join("aside"), &one).unwrap();
    setting.clean();
}

#[test]
fn images_and_names() {
    let setting = Setting::new();
    let image = setting.at(&format!("images/{}.json", setting.ids[1]));
    let whole = fs::read(&image).unwrap();
    fs::write(&image, &whole[..whole.len() / 2]).unwrap();
    let (_, found) = setting.check(&["--repair"]);
    let codes = codes_of(&found);
    assert_eq!(codes, ["image-damaged", "name-dangling", "unneeded"]);
    setting.clean();
    assert_eq!(setting.images(), "one");

    let tag = setting.at("tags/docker.io%2Flibrary%2Fother%3Alatest.json");
    let text = format!(
        "{{\"name\": \"docker.io/library/other:latest\", \"id\": \"{}\"}}",
        "0".repeat(64)
    );
    fs::write(&tag, text).unwrap();
    setting.mends(&["name-dangling"]);
    fs::write(&tag, "nonsense").unwrap();
    setting.mends(&["name-damaged"]);
    fs::write(setting.at("images/notes.txt"), "mine").unwrap();
    setting.leaves(&["foreign"]);
    fs::remove_file(setting.at("images/notes.txt")).unwrap();

    // A layer of no image.
    let id = &import(&setting.runner, "two");
    let layers = fs::read_dir(setting.at("layers")).unwrap().count();
    fs::remove_file(setting.at(&format!("images/{id}.json"))).unwrap();
    for entry in fs::read_dir(setting.at("tags")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains(id.as_str()) {
            fs::remove_file(path).unwrap();
        }
    }
    setting.mends(&["unneeded"]);
    assert!(fs::read_dir(setting.at("layers")).unwrap().count() < layers);
}

#[test]
fn pins_and_leftovers() {
    let setting = Setting::new();
    let id = setting.runner.containers().remove(0);
    let pin = setting.at(&format!("pins/{id}.json"));
    let good = fs::read_to_string(&pin).unwrap();
    fs::write(&pin, "").unwrap();
    let (code, found) = setting.check(&["--repair"]);
    let codes = codes_of(&found);
    assert_eq!((code, &codes[..]), (0, &["pin-damaged", "pin-missing"][..]));
    assert_eq!(fs::read_to_string(&pin).unwrap(), good);
    fs::remove_file(&pin).unwrap();
    setting.mends(&["pin-missing"]);
    assert_eq!(fs::read_to_string(&pin).unwrap(), good);

    let ghost = "a".repeat(64);
    fs::write(setting.at(&format!("pins/{ghost}.json")), good).unwrap();
    setting.mends(&["container-gone"]);
    symlink(&ghost, setting.at("names/ghost")).unwrap();
    setting.mends(&["container-gone"]);
    fs::create_dir_all(setting.at(&format!("containers/.gone-{ghost}/upper"))).unwrap();
    setting.mends(&["container-gone"]);
}

#[test]
fn containers_volumes_and_networks() {
    let setting = Setting::new();
    let damage = |path: PathBuf, codes: &[&str]| {
        let good = fs::read(&path).unwrap();
        fs::write(&path, "{").unwrap();
        setting.leaves(codes);
        fs::write(&path, good).unwrap();
        setting.clean();
    };
    damage(
        setting.container().join("config.json"),
        &["container-damaged"],
    );
    damage(setting.container().join("state.json"), &["state-damaged"]);
    damage(setting.at("volumes/kept/volume.json"), &["volume-damaged"]);
    setting.runner.ok("network", &["create", "mine"]);
    damage(setting.at("networks.json"), &["networks-damaged"]);
    let aside = setting.runner.scratch.join("aside");
    fs::rename(setting.at("volumes/kept"), &aside).unwrap();
    setting.leaves(&["volume-missing"]);
    fs::rename(&aside, setting.at("volumes/kept")).unwrap();
    fs::remove_file(setting.at("names/con")).unwrap();
    setting.leaves(&["name-missing"]);
    setting
        .runner
        .ok("rename", &[&setting.runner.containers()[0], "don"]);
    setting.clean();
}
