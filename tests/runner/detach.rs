//! `run -d` and `create`: containers that live without their client.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tests::container::{Runner, cgroups_of};
use tests::process::{Running, call, wait_until};

#[test]
fn it_prints_the_id_and_returns_while_the_command_runs() {
    let runner = Runner::new();
    let id = runner.detached(&["--name", "job"], "echo begun; sleep 1000");
    assert_eq!(
        runner.inspect("job", "{{.Id}} {{.State.Status}} {{.Name}}"),
        format!("{id} running /job")
    );
    runner.wait_for_log("job", "begun\n");
    let pid = runner.inspect("job", "{{.State.Pid}}");
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.starts_with("sh\0-c\0"), "{line:?}");
}

#[test]
fn the_monitor_is_of_nobodys_session_and_has_no_streams_of_the_client() {
    let runner = Runner::new();
    // A client whose pipes are read to their end: a monitor that keeps them would hang here.
    let id = runner.detached(&[], "sleep 1000");
    let pid = runner.inspect(&id, "{{.State.Pid}}");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned();
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, parent, "the monitor leads its session");
    for fd in 0..=1 {
        let target = fs::read_link(format!("/proc/{parent}/fd/{fd}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
}

#[test]
fn a_detached_container_with_rm_removes_itself() {
    let runner = Runner::new();
    let id = runner.detached(&["--rm"], "sleep 0.2");
    let gone = wait_until(Duration::from_secs(120), || runner.containers().is_empty());
    assert!(gone, "still there");
    assert!(cgroups_of(&id).is_empty());
    runner.nothing_left();
}

#[test]
fn a_failed_start_tells_why_and_is_kept_as_created() {
    let runner = Runner::new();
    let image = format!("dir:{}", tests::container::debian().display());
    let output = runner.call("run", &["-d", "--name", "bad", &image, "no-such-command"]);
    output.one_line_error(127);
    assert_eq!(
        runner.inspect("bad", "{{.State.Status}} {{.State.ExitCode}}"),
        "created 127"
    );
    assert!(
        runner
            .inspect("bad", "{{.State.Error}}")
            .contains("no-such-command")
    );
    let output = runner.call("run", &["-d", "--rm", &image, "no-such-command"]);
    output.one_line_error(127);
    runner.call("rm", &["bad"]).ok();
    runner.nothing_left();
}

#[test]
fn a_client_that_is_killed_leaves_its_container_running() {
    let runner = Runner::new();
    for flags in [&["--name", "kept"][..], &["--rm", "--name", "gone"]] {
        let name = flags.last().unwrap();
        let mut command = runner.command("run");
        command
            .args(flags)
            .args(["host", "sh", "-c", "echo here; sleep 1000"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut client = Running::start(&mut command);
        let there = || runner.call("logs", &[name]).out() == "here\n";
        assert!(wait_until(Duration::from_secs(120), there), "never started");
        client.signal(Signal::KILL);
        client.wait(Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(runner.inspect(name, "{{.State.Status}}"), "running");
        runner.call("stop", &["-t", "0", name]).ok();
    }
    assert_eq!(runner.inspect("kept", "{{.State.ExitCode}}"), "137");
    assert_eq!(runner.containers().len(), 1);
}

#[test]
fn an_id_file_is_written_once() {
    let runner = Runner::new();
    let file = runner.scratch.join("id");
    let path = file.to_str().unwrap();
    let id = runner.detached(&["--cidfile", path], "true");
    assert_eq!(fs::read_to_string(&file).unwrap(), id);
    let output = runner.call("run", &["-d", "--cidfile", path, "host", "true"]);
    assert!(output.one_line_error(125).contains(path));
    assert_eq!(runner.containers().len(), 1);
}

#[test]
fn create_makes_and_start_starts() {
    let runner = Runner::new();
    let id = runner.ok(
        "create",
        &[
            "--name",
            "made",
            "host",
            "sh",
            "-c",
            "echo $((6*7)); exit 3",
        ],
    );
    assert_eq!(id.len(), 64);
    assert_eq!(
        runner.inspect("made", "{{.State.Status}} {{.State.StartedAt}}"),
        "created 0001-01-01T00:00:00Z"
    );
    let output = runner.call("start", &["-a", "made"]);
    assert_eq!((output.code, output.out().as_str()), (3, "42\n"));
    assert_eq!(
        runner.inspect("made", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 3"
    );
}

#[test]
fn conflicting_flags_are_refused_before_anything_is_made() {
    let runner = Runner::new();
    for flags in [
        &["-d", "-a", "stdout"][..],
        &["--rm", "--restart", "always"],
        &["--restart", "sometimes"],
        &["--stop-signal", "NOPE"],
        &["--log-driver", "syslog"],
        &["--log-driver", "none", "--log-opt", "max-size=1m"],
        &["--log-opt", "max-file=0"],
        &["--label", "=x"],
        &["--label-file", "/no/such/file"],
        &["--detach-keys", "ctrl-1", "-t"],
        &["-a", "stdlog"],
    ] {
        let output = runner.call("run", &[flags, &["host", "true"]].concat());
        output.one_line_error(125);
        runner.nothing_left();
    }
}

#[test]
fn fifty_at_once() {
    let runner = Runner::new();
    let image = format!("dir:{}", tests::container::debian().display());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..50)
            .map(|n| {
                let (runner, image) = (&runner, &image);
                scope.spawn(move || {
                    let name = format!("many-{n}");
                    let args = [
                        "-d",
                        "--name",
                        &name,
                        image,
                        "sh",
                        "-c",
                        "echo up; sleep 1000",
                    ];
                    runner.call("run", &args).ok()
                })
            })
            .collect();
        for worker in workers {
            assert_eq!(worker.join().unwrap().len(), 65);
        }
    });
    assert_eq!(runner.ok("ps", &["-q"]).lines().count(), 50);
    let ids = runner.ok("ps", &["-aq"]);
    let ids: Vec<&str> = ids.lines().collect();
    runner.call("rm", &[&["-f"], ids.as_slice()].concat()).ok();
    runner.nothing_left();
}

#[test]
fn the_manuals_own_example() {
    // The first lines of the classic manual, typed as they stand.
    let runner = Runner::new();
    let script = format!(
        "runner() {{ verb=$1; shift; {} $verb --root {} \"$@\"; }}
         JOB=$(runner run -d host /bin/sh -c 'while true; do echo Hello world; sleep 0.05; done')
         sleep 0.5; runner logs $JOB | head -n 1; runner attach --sig-proxy=false $JOB | head -n 1
         runner ps -q --no-trunc | grep -c $JOB; runner stop -t 0 $JOB | grep -c $JOB; runner rm $JOB | wc -l",
        tests::programs::runner().display(),
        runner.state().display()
    );
    let out = call("sh", &["-c", &script]).ok();
    assert_eq!(out, "Hello world\nHello world\n1\n1\n1\n");
}
