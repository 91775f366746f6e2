//! `system df|info|prune`, `info`.

use tests::container::Runner;

const ALONE: &str = "--network=none";

#[test]
fn df_counts_what_is_there_and_what_is_used() {
    let runner = Runner::new();
    let rows = || {
        runner.ok(
            "system",
            &["df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"],
        )
    };
    assert_eq!(rows(), "Images 0 0\nContainers 0 0\nLocal Volumes 0 0");
    let running = runner.detached(&[ALONE, "-v", "used:/used"], "sleep 1000");
    let ended = runner.detached(&[ALONE], "head -c 1000000 /dev/zero >/file");
    runner.ok("volume", &["create", "unused"]);
    runner.wait_for(&ended, "{{.State.Status}}", "exited");
    assert_eq!(rows(), "Images 0 0\nContainers 2 1\nLocal Volumes 2 1");
    let table = runner.ok("system", &["df"]);
    let line = table.lines().nth(2).unwrap_or_default();
    assert!(
        table.starts_with("TYPE") && line.starts_with("Containers"),
        "{table}"
    );
    assert!(line.contains("MB ("), "the file of the ended one: {table}");
    runner.ok("kill", &[&running]);
}

#[test]
fn df_tells_each_thing() {
    let runner = Runner::new();
    let tree = |name: &str, bytes: usize| {
        let place = runner.scratch.dir(name);
        std::fs::write(place.join(name), vec![7; bytes]).unwrap();
        place
    };
    let base = tree("base", 3_000_000);
    runner.ok("import", &[base.to_str().unwrap(), "base"]);
    let context = tree("context", 2_000_000);
    std::fs::write(
        context.join("Dockerfile"),
        "FROM base\nCOPY context /more\n",
    )
    .unwrap();
    runner.ok("build", &["-q", "-t", "grown", context.to_str().unwrap()]);
    runner.ok(
        "create",
        &["--name", "one", "-v", "kept:/v", "grown", "true"],
    );
    runner.ok("volume", &["create", "idle"]);
    let told = runner.ok("system", &["df", "-v"]);
    let line = |beginning: &str| {
        let found = told.lines().find(|line| line.starts_with(beginning));
        let words = found.unwrap_or_else(|| panic!("{beginning}:\n{told}"));
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(line("base").ends_with("3MB 3MB 0B 0"), "{told}");
    assert!(line("grown").ends_with("5MB 3MB 2MB 1"), "{told}");
    assert!(line("kept").starts_with("kept 1 "), "{told}");
    assert!(line("idle").starts_with("idle 0 "), "{told}");
    let id = runner.containers()[0][..12].to_owned();
    let container = line(&id);
    assert!(
        container.contains("grown \"true\" 1 ") && container.ends_with("Created one"),
        "{told}"
    );
    for head in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
    ] {
        assert!(told.contains(head), "{told}");
    }
}

#[test]
fn prune_takes_all_that_is_not_used() {
    let runner = Runner::new();
    let kept = runner.detached(&[ALONE, "-v", "/kept"], "sleep 1000");
    let ended = runner.detached(&[ALONE, "-v", "/gone"], "true");
    runner.wait_for(&ended, "{{.State.Status}}", "exited");
    runner.ok("network", &["create", "idle"]);
    runner.ok("volume", &["create", "named"]);
    let volumes = || runner.ok("volume", &["ls", "-q"]).lines().count();
    let said = runner.ok("system", &["prune", "-f"]);
    assert!(
        said.contains(&format!("Deleted Containers:\n{ended}\n")),
        "{said}"
    );
    assert!(said.contains("Deleted Networks:\nidle\n"), "{said}");
    assert_eq!(volumes(), 3);
    let said = runner.ok("system", &["prune", "-f", "--volumes"]);
    assert!(said.contains("Deleted Volumes:\n"), "{said}");
    // The one that is used, and the one with a name.
    assert_eq!(volumes(), 2);
    assert_eq!(runner.containers(), [kept]);
}

#[test]
fn info_tells_of_the_machine() {
    let runner = Runner::new();
    runner.detached(&[ALONE], "sleep 1000");
    let field = |field: &str| runner.ok("info", &["--format", &format!("{{{{.{field}}}}}")]);
    assert_eq!(field("ContainersRunning"), "1");
    assert_eq!(field("Driver"), "layerfs");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(field("KernelVersion"), kernel.trim());
    let text = runner.ok("system", &["info"]);
    assert!(text.contains("Storage Driver: layerfs\n"), "{text}");
    runner.call("info", &["--format", "{{"]).one_line_error(125);
}
