//! kill -9 of a runner's command after each system call that changes the disk: what is shown is the state
//! of before or of after, other images are untouched, doing it again ends well, and nothing is left over.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::container::Runner;
use tests::layers::Layer;
use tests::process::{LIMIT, call, run, wait_until};
use tests::registry::Registry;
use tests::tracer::{Counted, Fault, Plan, Tracer};

use crate::{assert_none, places};

/// How many places of each command the short form tries.
const SHORT: usize = 5;

/// A root directory that every try begins with.
struct Setting {
    /// Ended before its files go.
    registry: Registry,
    runner: Runner,
    template: PathBuf,
    /// Files that commands read, and where they write.
    files: PathBuf,
    out: PathBuf,
}

/// What a root directory shows: names of images, containers.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    images: Vec<String>,
    containers: String,
}

impl Setting {
    fn new() -> Self {
        let runner = Runner::new();
        let files = runner.scratch.dir("files");
        let out = runner.scratch.dir("out");
        let registry = Registry::start(&runner.scratch, "");
        let tree = shell(Layer::new()).write(files.join("tree"));
        let more = Layer::new()
            .file("more", vec![9; 3_000_000])
            .write(files.join("more"));
        let [tree, more] = [&tree, &more].map(|path| path.to_str().unwrap());
        let packed = files.join("more.tar.gz");
        call("tar", &["czf", packed.to_str().unwrap(), "-C", more, "."]).ok();
        runner.ok("import", &[tree, "base"]);
        let context = files.join("context");
        fs::create_dir(&context).unwrap();
        fs::write(context.join("data"), "data").unwrap();
        let dockerfile = "FROM base\nWORKDIR /srv\nCOPY data .\nRUN echo built > /built\nENV A=b\n";
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        // Something else of two layers, to be loaded and pulled where it is not.
        runner.ok("build", &["-q", "-t", "two", context.to_str().unwrap()]);
        let archive = files.join("two.tar");
        runner.ok("save", &["-o", archive.to_str().unwrap(), "two"]);
        let name = format!("{}/two:v1", registry.host);
        runner.ok("tag", &["two", &name]);
        runner.ok("push", &["-q", &name]);
        runner.ok("rmi", &[&name]);
        runner.ok("rmi", &["two"]);
        runner.ok("system", &["prune", "-f"]);
        runner.ok("import", &[more, "other"]);
        runner.ok("create", &["--name", "job", "base", "sh"]);
        let container = runner
            .state()
            .join("containers")
            .join(&runner.containers()[0]);
        fs::write(container.join("upper/changed"), "changed").unwrap();
        let template = runner.scratch.join("template");
        fs::rename(runner.state(), &template).unwrap();
        Self {
            runner,
            template,
            files,
            out,
            registry,
        }
    }

    /// The root as it was at first; what is in it is never written in place.
    fn renew(&self) {
        let state = self.runner.state().to_str().unwrap();
        call("rm", &["-rf", state]).ok();
        call("cp", &["-al", self.template.to_str().unwrap(), state]).ok();
        call("rm", &["-rf", self.out.to_str().unwrap()]).ok();
        fs::create_dir(&self.out).unwrap();
    }

    fn traced(&self, line: &[String], plan: Plan) -> Tracer {
        let (verb, args) = line.split_first().unwrap();
        let mut command = self.runner.command(verb);
        command.args(args);
        Tracer::start(command, &self.runner.scratch.join("log"), Some(plan))
    }

    fn shown(&self) -> Shown {
        let images = self
            .runner
            .ok("images", &["--format", "{{.Repository}}:{{.Tag}}"]);
        let mut images: Vec<String> = images.lines().map(str::to_owned).collect();
        // One that has no name yet, or no longer, is what the next prune takes away.
        images.retain(|name| name != "<none>:<none>");
        images.sort();
        Shown {
            images,
            containers: self
                .runner
                .ok("ps", &["-a", "--format", "{{.Names}} {{.Image}}"]),
        }
    }

    /// How many files there are of each kind, once nothing is left over.
    fn shape(&self) -> BTreeMap<String, usize> {
        self.runner.ok("image", &["prune", "-f"]);
        let mut shape = BTreeMap::new();
        for part in [
            "",
            "images",
            "tags",
            "layers",
            "stacks",
            "pins",
            "containers",
            "names",
            "locks",
            "builds",
        ] {
            let entries = fs::read_dir(self.runner.state().join(part))
                .into_iter()
                .flatten();
            let entries = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            // What is known of registries may be lost, and is not counted.
            let entries = entries.filter(|name| !part.is_empty() || name != "registry");
            shape.insert(part.to_owned(), entries.count());
        }
        shape
    }

    fn in_out(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.out).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Problems, in words; notes are what may be left.
    fn problems(&self) -> Vec<String> {
        let output = self.runner.call("system", &["check", "--format", "json"]);
        let found: Vec<Value> =
            serde_json::from_str(&output.out()).unwrap_or_else(|e| panic!("{e}: {output}"));
        let found = found.into_iter().filter(|one| one["problem"] == true);
        found
            .map(|one| format!("{}: {}", one["code"], one["what"]))
            .collect()
    }
}

/// The machine's shell with its libraries: enough for a RUN.
fn shell(mut layer: Layer) -> Layer {
    let listed = call("ldd", &["/bin/sh"]).ok();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in libraries.chain(["/bin/sh"]) {
        layer = layer
            .file(path.trim_start_matches('/'), fs::read(path).unwrap())
            .mode(0o755);
    }
    layer
}

/// The state in which a killed command may leave the root, or why that is none.
fn fault(
    setting: &Setting,
    line: &[String],
    n: usize,
    ends: &[Shown; 2],
    wanted: &BTreeMap<String, usize>,
) -> Result<(), String> {
    setting.renew();
    let strike = Some((n, Fault::Kill));
    let tracer = setting.traced(
        line,
        Plan {
            counted: Counted::Changes,
            strike,
        },
    );
    tracer.wait(LIMIT);
    let Some(struck) = tracer.struck() else {
        return Ok(()); // it made fewer calls this time
    };
    drop(tracer);
    let told = |why: String| {
        Err(format!(
            "{} killed after call {n}, {struck}: {why}",
            line.join(" ")
        ))
    };
    // A RUN that is still at work is told to end by the next command, and removed by one after it.
    let settled = wait_until(Duration::from_secs(20), || ends.contains(&setting.shown()));
    if !settled {
        return told(format!("{:?}, which is neither {ends:?}", setting.shown()));
    }
    let problems = setting.problems();
    if !problems.is_empty() {
        return told(problems.join("; "));
    }
    if let Some(file) = setting.in_out().into_iter().next() {
        let whole = run(std::process::Command::new("tar")
            .arg("tf")
            .arg(setting.out.join(&file)));
        if file != "saved.tar" || whole.code != 0 {
            return told(format!("left {file} behind"));
        }
    }
    let was = setting.shown();
    let (verb, args) = line.split_first().unwrap();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let again = setting.runner.call(verb, &args);
    let done = was == ends[1] && again.err().contains("no such image");
    if again.code != 0 && !done {
        return told(format!("again: {again}"));
    }
    if setting.shown() != ends[1] {
        return told(format!("after doing it again {:?}", setting.shown()));
    }
    let shape = setting.shape();
    if shape != *wanted {
        return told(format!("left over: {shape:?}, wanted {wanted:?}"));
    }
    Ok(())
}

/// A command with some of the setting's files.
fn sweep(setting: &Setting, line: &[&str]) {
    let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
    setting.renew();
    let before = setting.shown();
    let plan = Plan {
        counted: Counted::Changes,
        strike: None,
    };
    let tracer = setting.traced(&line, plan);
    assert_eq!(tracer.wait(LIMIT), 0, "{line:?}: {}", said(&setting.runner));
    let count = tracer.disarm().len();
    drop(tracer);
    let ends = [before, setting.shown()];
    let wanted = setting.shape();
    assert!(count > 3, "{line:?}: only {count} changes");
    let faults = places(count, SHORT).into_iter();
    let faults = faults.filter_map(|n| fault(setting, &line, n, &ends, &wanted).err());
    assert_none(&faults.collect::<Vec<_>>());
    setting.renew();
}

fn said(runner: &Runner) -> String {
    fs::read_to_string(runner.scratch.join("log")).unwrap_or_default()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn images_that_come_are_there_or_not() {
    let setting = Setting::new();
    let files = &setting.files;
    sweep(
        &setting,
        &["import", text(&files.join("more.tar.gz")), "new"],
    );
    sweep(&setting, &["import", text(&files.join("tree")), "new"]);
    sweep(&setting, &["load", "-i", text(&files.join("two.tar"))]);
    let name = format!("{}/two:v1", setting.registry.host);
    sweep(&setting, &["pull", "-q", &name]);
}

#[test]
fn images_that_are_made_are_there_or_not() {
    let setting = Setting::new();
    sweep(&setting, &["commit", "job", "made"]);
    sweep(
        &setting,
        &[
            "build",
            "-q",
            "-t",
            "built",
            text(&setting.files.join("context")),
        ],
    );
}

#[test]
fn images_that_go_are_there_or_not() {
    let setting = Setting::new();
    sweep(&setting, &["tag", "other", "again"]);
    sweep(&setting, &["rmi", "other"]);
    sweep(&setting, &["image", "prune", "-a", "-f"]);
    sweep(
        &setting,
        &[
            "save",
            "-o",
            text(&setting.out.join("saved.tar")),
            "base",
            "other",
        ],
    );
}

/// All that `create` asks and changes, in order.
fn creation(setting: &Setting) -> Vec<String> {
    setting.renew();
    let plan = Plan {
        counted: Counted::Files,
        strike: None,
    };
    let line = ["create", "--name", "kept", "base", "sh"].map(str::to_owned);
    let tracer = setting.traced(&line, plan);
    assert_eq!(tracer.wait(LIMIT), 0, "{}", said(&setting.runner));
    tracer.disarm()
}

#[test]
fn a_pin_is_on_the_disk_before_anything_else_of_its_container() {
    let setting = Setting::new();
    let calls = creation(&setting);
    let all = calls.join("\n");
    let at = |what: &str, part: &str, from: usize| {
        let mut rest = calls.iter().skip(from);
        let found = rest.position(|call| call.starts_with(what) && call.contains(part));
        found.unwrap_or_else(|| panic!("no {what} of {part} from call {from} on:\n{all}")) + from
    };
    let renamed = at("rename", "/pins/", 0);
    let made = at("open", "/pins/.tmp-", 0);
    let flushed = at("fsync", "", made);
    let directory = at("fsync", "", renamed);
    let container = at("mkdir", "/containers/", renamed);
    let order = [made, flushed, renamed, directory, container];
    assert!(order.is_sorted(), "{order:?}:\n{all}");
    let pins = fs::read_dir(setting.runner.state().join("pins")).unwrap();
    for pin in pins {
        let path = pin.unwrap().path();
        let text = fs::read(&path).unwrap();
        let pin: Value = serde_json::from_slice(&text).unwrap();
        assert!(
            !pin["layers"].as_array().unwrap().is_empty(),
            "{}",
            path.display()
        );
    }
}
