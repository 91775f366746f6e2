//! `pull`, `push`, `login` and `logout` with Debian's `docker-registry`, and `skopeo` on the other side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::container::Runner;
use tests::layers::Layer;
use tests::process::{self, Output};
use tests::registry::{Image, Packing, Registry, archive, digest, skopeo_copy};
use tests::snapshot::{Snapshot, View};

use super::registry_hostile::{call, command};

/// Archives of two layers: files of every kind, then a change of some.
fn archives(runner: &Runner) -> [Vec<u8>; 2] {
    let lower = Layer::new()
        .file("etc/motd", "hello")
        .file("bin/tool", "x")
        .mode(0o4755)
        .owner(3, 4)
        .xattr("user.note", "kept")
        .link("bin/same", "bin/tool")
        .symlink("lib", "usr/lib")
        .file("usr/lib/data", vec![7; 300_000])
        .fifo("run/pipe");
    let upper = Layer::new().file("etc/.wh.motd", "").file("srv/new", "new");
    [("lower", lower), ("upper", upper)]
        .map(|(name, layer)| archive(&layer.write(runner.scratch.join(name))))
}

/// A directory of skopeo's `dir:` form: the manifest and the unpacked layers in it.
fn read_dir(path: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let manifest = fs::read(path.join("manifest.json")).unwrap();
    let value: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = value["layers"].as_array().unwrap().iter().map(|layer| {
        let name = layer["digest"]
            .as_str()
            .unwrap()
            .trim_start_matches("sha256:");
        let packed = fs::read(path.join(name)).unwrap();
        let mut plain = Vec::new();
        let mut unpack = flate2::read::MultiGzDecoder::new(&packed[..]);
        std::io::Read::read_to_end(&mut unpack, &mut plain).unwrap();
        plain
    });
    let layers = layers.collect();
    (manifest, layers)
}

/// One archive after the other, by the machine's tar, as a plain tree.
fn unpack(archives: &[Vec<u8>], to: PathBuf) -> Snapshot {
    fs::create_dir_all(&to).unwrap();
    for bytes in archives {
        let mut tar = Command::new("tar");
        tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpC"])
            .arg(&to);
        let out = process::run_with(&mut tar, bytes, process::LIMIT);
        assert_eq!(out.code, 0, "{out}");
    }
    let view = View {
        no_dir_times: true,
        ..View::plain()
    };
    Snapshot::of(&to, &view)
}

fn ok(output: &Output) -> String {
    assert_eq!(output.code, 0, "{output}");
    output.out()
}

#[test]
fn what_skopeo_pushes_is_pulled() {
    let runner = Runner::new();
    let registry = Registry::start(&runner.scratch, "");
    let host = &registry.host;
    let archives = archives(&runner);
    for (tag, packing, format) in [
        ("gzip", Packing::Gzip, "oci"),
        ("docker", Packing::Gzip, "v2s2"),
        ("zstd", Packing::Zstd, "oci"),
    ] {
        let image = Image::new(&archives, packing, "amd64");
        let layout = runner.scratch.join(format!("layout-{tag}"));
        Image::layout(&[(tag, &image)], false, &layout);
        let from = format!("oci:{}:{tag}", layout.display());
        let name = format!("{host}/team/name:{tag}");
        let to = format!("docker://{name}");
        ok(&skopeo_copy(&["--format", format, &from, &to]));
        let told = ok(&call(&runner, "pull", &[&name]));
        for line in [
            format!("{tag}: Pulling from team/name\n"),
            format!("Status: Downloaded newer image for {name}\n"),
        ] {
            assert!(told.contains(&line), "{line}: {told}");
        }
        assert!(told.ends_with(&format!("\n{name}\n")), "{told}");
        // The same layers in another packing are there already.
        let state = if tag == "gzip" {
            ": Pull complete\n"
        } else {
            ": Already exists\n"
        };
        assert_eq!(told.matches(state).count(), 2, "{tag}: {told}");
        let ids = call(&runner, "images", &["-q", "--no-trunc", &name]).ok();
        let (_, shown) = told.split_once("Digest: ").unwrap();
        let shown = shown.lines().next().unwrap();
        let mut inspect = Command::new("skopeo");
        inspect.args(["inspect", "--tls-verify=false", "--raw", &to]);
        let raw = process::run(&mut inspect);
        assert_eq!(digest(&raw.stdout), shown, "{raw}");
        let raw: Value = serde_json::from_slice(&raw.stdout).unwrap();
        let config = raw["config"]["digest"].as_str().unwrap();
        assert_eq!(
            ids.trim().trim_start_matches("sha256:"),
            &config["sha256:".len()..]
        );
        let again = ok(&call(&runner, "pull", &[&name]));
        assert!(again.contains("Status: Image is up to date for"), "{again}");
        let by_digest = format!("{host}/team/name@{shown}");
        assert_eq!(
            ok(&call(&runner, "pull", &["-q", &by_digest])),
            format!("{by_digest}\n")
        );
    }
    let all = ok(&call(
        &runner,
        "pull",
        &["-a", &format!("{host}/team/name")],
    ));
    assert_eq!(all.matches("Image is up to date").count(), 3, "{all}");
    // It goes back under the digest that it came with.
    for tag in ["gzip", "docker", "zstd"] {
        let name = format!("{host}/team/name:{tag}");
        let told = ok(&call(&runner, "push", &[&name]));
        let mut inspect = Command::new("skopeo");
        inspect.args([
            "inspect",
            "--tls-verify=false",
            "--raw",
            &format!("docker://{name}"),
        ]);
        let raw = process::run(&mut inspect);
        assert!(told.contains(&digest(&raw.stdout)), "{told}");
        assert_eq!(told.matches("Layer already exists").count(), 2, "{told}");
    }
}

#[test]
fn what_is_pushed_skopeo_pulls() {
    let runner = Runner::new();
    let registry = Registry::start(&runner.scratch, "");
    let archives = archives(&runner);
    let image = Image::new(&archives, Packing::Gzip, "amd64");
    let source = Registry::start_in(&runner.scratch, "source", "");
    let layout = runner.scratch.join("layout");
    Image::layout(&[("1", &image)], false, &layout);
    let from = format!("{}/name:1", source.host);
    let copied = skopeo_copy(&[
        &format!("oci:{}:1", layout.display()),
        &format!("docker://{from}"),
    ]);
    ok(&copied);
    ok(&call(&runner, "pull", &["-q", &from]));
    let name = format!("{}/copy:2", registry.host);
    ok(&call(&runner, "tag", &[&from, &name]));
    let told = ok(&call(&runner, "push", &[&name]));
    assert!(
        told.starts_with(&format!(
            "The push refers to repository [{}/copy]\n",
            registry.host
        )),
        "{told}"
    );
    assert_eq!(told.matches(": Pushed\n").count(), 2, "{told}");
    let to = runner.scratch.join("copy");
    ok(&skopeo_copy(&[
        &format!("docker://{name}"),
        &format!("dir:{}", to.display()),
    ]));
    let (manifest, layers) = read_dir(&to);
    assert!(
        told.contains(&format!(
            "2: digest: {} size: {}\n",
            digest(&manifest),
            manifest.len()
        )),
        "{told}"
    );
    // Every byte of every layer, hence every file, is what it was.
    assert!(layers == archives, "layers differ");
    let wanted = unpack(&archives, runner.scratch.join("wanted"));
    unpack(&layers, runner.scratch.join("seen")).assert_same(&wanted, "layers unpacked");
    let value: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(value["config"]["digest"], digest(&image.config));
    // Once more, and into another repository.
    let again = ok(&call(&runner, "push", &[&name]));
    assert_eq!(
        again.matches(": Layer already exists\n").count(),
        2,
        "{again}"
    );
    let other = format!("{}/other:3", registry.host);
    ok(&call(&runner, "tag", &[&name, &other]));
    let mounted = ok(&call(&runner, "push", &[&other]));
    assert_eq!(
        mounted.matches(": Mounted from copy\n").count(),
        2,
        "{mounted}"
    );
    // Another store gets the same image.
    let elsewhere = Runner::new();
    ok(&call(&elsewhere, "pull", &["-q", &other]));
    let ids = ok(&call(&elsewhere, "images", &["-q", "--no-trunc"]));
    assert!(ids.contains(&image.id()), "{ids}");
}

#[test]
fn the_image_for_a_platform() {
    let runner = Runner::new();
    let registry = Registry::start(&runner.scratch, "");
    let archives = archives(&runner);
    let amd64 = Image::new(&archives[..1], Packing::Gzip, "amd64");
    let arm64 = Image::new(&archives, Packing::Gzip, "arm64");
    let layout = runner.scratch.join("layout");
    Image::layout(&[("amd64", &amd64), ("arm64", &arm64)], true, &layout);
    let name = format!("{}/many:1", registry.host);
    let from = format!("oci:{}:all", layout.display());
    ok(&skopeo_copy(&["--all", &from, &format!("docker://{name}")]));
    for (platform, wanted) in [
        ("linux/amd64", &amd64),
        ("arm64", &arm64),
        ("linux/arm64/v8", &arm64),
    ] {
        ok(&call(
            &runner,
            "pull",
            &["-q", "--platform", platform, &name],
        ));
        let ids = ok(&call(&runner, "images", &["-q", "--no-trunc", &name]));
        assert!(ids.contains(&wanted.id()), "{platform}: {ids}");
    }
    let line =
        call(&runner, "pull", &["-q", "--platform", "linux/s390x", &name]).one_line_error(125);
    assert!(
        line.contains("there is: linux/amd64, linux/arm64"),
        "{line}"
    );
}

/// What a registry with TLS and one user, me:secret, has in its configuration.
fn guarded(directory: &Path) -> String {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let mut openssl = Command::new("openssl");
    let config = directory.join("openssl.conf");
    let text = "[req]\ndistinguished_name = name\nx509_extensions = own\nprompt = no\n[name]\nCN = test\n\
         [own]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";
    fs::write(&config, text).unwrap();
    openssl.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
    openssl
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-config"])
        .arg(&config);
    let out = process::run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert));
    assert_eq!(out.code, 0, "{out}");
    let users = directory.join("users");
    // bcrypt of "secret".
    fs::write(
        &users,
        "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
    )
    .unwrap();
    format!(
        "  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        cert.display(),
        key.display(),
        users.display()
    )
}

#[test]
fn who_may_and_who_is_believed() {
    let runner = Runner::new();
    let directory = runner.scratch.dir("guard");
    let registry = Registry::start(&runner.scratch, &guarded(&directory));
    let host = registry.host.as_str();
    let tree = Layer::new()
        .file("x", "y")
        .write(runner.scratch.join("tree"));
    let name = format!("{host}/name:1");
    ok(&call(&runner, "import", &[tree.to_str().unwrap(), &name]));
    let run = |verb: &str, args: &[&str], input: &str| {
        let mut command = command(&runner, verb, args);
        command.env("SSL_CERT_FILE", directory.join("cert.pem"));
        process::run_with(&mut command, input.as_bytes(), process::LIMIT)
    };
    // Nobody signed it whom this machine believes: refused where it is checked.
    let line = call(&runner, "push", &["-q", "--tls-verify=true", &name]).one_line_error(125);
    assert!(line.contains("certificate"), "{line}");
    let line = run("push", &["-q", "--tls-verify=true", &name], "").one_line_error(125);
    assert!(line.contains("runner login"), "{line}");
    let stdin = ["-u", "me", "--password-stdin", "--tls-verify=true", host];
    let wrong = run("login", &stdin, "other\n");
    assert!(
        wrong.one_line_error(125).contains("access denied"),
        "{wrong}"
    );
    assert!(!runner.scratch.join("docker/config.json").exists());
    assert_eq!(ok(&run("login", &stdin, "secret\n")), "Login Succeeded\n");
    let config = fs::read_to_string(runner.scratch.join("docker/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    // bWU6c2VjcmV0 is me:secret.
    assert_eq!(config["auths"][host]["auth"], "bWU6c2VjcmV0");
    assert_eq!(
        ok(&run("push", &["-q", "--tls-verify=true", &name], "")),
        format!("{name}\n")
    );
    // A local host's certificate is not looked at unless one says so.
    assert_eq!(
        ok(&call(&runner, "pull", &["-q", &name])),
        format!("{name}\n")
    );
    assert_eq!(
        ok(&run("logout", &[host], "")),
        format!("Removing login credentials for {host}\n")
    );
    assert_eq!(
        ok(&run("logout", &[host], "")),
        format!("Not logged in to {host}\n")
    );
    call(&runner, "pull", &["-q", &name]).one_line_error(125);
}

#[test]
fn a_helper_keeps_the_password() {
    let runner = Runner::new();
    let directory = runner.scratch.dir("guard");
    let registry = Registry::start(&runner.scratch, &guarded(&directory));
    let host = registry.host.as_str();
    let safe = directory.join("safe");
    let helper = directory.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat >{0} ;;\nerase) rm {0} ;;\n\
         get) [ -e {0} ] && exec cat {0}; echo 'credentials not found in native keychain'; exit 1 ;;\nesac\n",
        safe.display()
    );
    fs::write(&helper, script).unwrap();
    process::call("chmod", &["755", helper.to_str().unwrap()]).ok();
    let docker = runner.scratch.dir("docker").join("config.json");
    fs::write(&docker, r#"{"credsStore": "test", "detachKeys": "ctrl-a"}"#).unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let run = |verb: &str, args: &[&str], input: &str| {
        let mut command = command(&runner, verb, args);
        process::run_with(command.env("PATH", &path), input.as_bytes(), process::LIMIT)
    };
    let stdin = ["-u", "me", "--password-stdin", host];
    assert_eq!(ok(&run("login", &stdin, "secret")), "Login Succeeded\n");
    assert!(fs::read_to_string(&safe).unwrap().contains("secret"));
    let config = fs::read_to_string(&docker).unwrap();
    assert!(
        !config.contains("secret") && config.contains("ctrl-a"),
        "{config}"
    );
    // What is kept there opens the registry.
    let line = run("pull", &["-q", &format!("{host}/none")], "").one_line_error(125);
    assert!(line.contains("not found"), "{line}");
    ok(&run("logout", &[host], ""));
    assert!(!safe.exists());
    let line = run("pull", &["-q", &format!("{host}/none")], "").one_line_error(125);
    assert!(line.contains("access denied"), "{line}");
}
