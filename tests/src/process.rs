//! Running programs with a time limit, and reading what they said.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take unless told otherwise: far beyond any honest run, so that a hang
/// fails the test instead of the whole suite.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A shell script for `unshare -m sh -c ... sh PROGRAM ARGS`: runs the program where /dev has no
/// fuse.
pub const NO_FUSE: &str = "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && \
     mknod -m 666 /dev/urandom c 1 9 && mknod -m 666 /dev/zero c 1 5 && exec \"$@\"";

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code, or 128 + signal.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Panics unless it ended with 0; gives standard output.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.out()
    }

    /// Panics unless it ended with `code` and said exactly one line on standard error and nothing
    /// on standard output; gives that line.
    #[track_caller]
    pub fn one_line_error(&self, code: i32) -> String {
        assert_eq!(self.code, code, "{self}");
        let err = self.err();
        assert_eq!(err.lines().count(), 1, "one line of error wanted: {self}");
        assert!(self.stdout.is_empty(), "nothing on stdout wanted: {self}");
        assert!(
            !err.contains("panicked") && !err.contains("RUST_BACKTRACE"),
            "a panic: {self}"
        );
        err.trim_end().to_owned()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.code,
            self.out(),
            self.err()
        )
    }
}

/// Runs `command` to its end, with nothing on standard input.
pub fn run(command: &mut Command) -> Output {
    run_with(command, b"", LIMIT)
}

/// Runs a program by name with arguments.
pub fn call<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Output {
    run(Command::new(program).args(args))
}

/// Runs `command` with `input` on standard input; kills it and panics after `limit`.
///
/// Does not wait for the pipes' other holders: a daemon that keeps standard error open is a fault
/// that shows here as a panic.
pub fn run_with(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    let text = format!("{command:?}");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let out = drain(child.stdout.take().unwrap());
    let err = drain(child.stderr.take().unwrap());
    let end = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{text}: still running after {limit:?}");
        }
        thread::sleep(Duration::from_millis(2));
    };
    let closed = wait_until(Duration::from_secs(120), || {
        out.is_finished() && err.is_finished()
    });
    assert!(
        closed,
        "{text}: ended, but someone still holds its stdout or stderr open"
    );
    let _ = feed.join();
    Output {
        command: text,
        code: code_of(status),
        stdout: out.join().unwrap(),
        stderr: err.join().unwrap(),
    }
}

/// Exit code, or 128 + signal.
pub fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

/// A child that is killed (it alone) when dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> Self {
        Self(
            command
                .spawn()
                .unwrap_or_else(|e| panic!("{command:?}: {e}")),
        )
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let mut code = None;
        wait_until(limit, || {
            code = self.0.try_wait().unwrap().map(code_of);
            code.is_some()
        });
        code.unwrap_or_else(|| panic!("process {} still runs after {limit:?}", self.pid()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks `done` until it is true or `limit` has passed; gives the last answer.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
