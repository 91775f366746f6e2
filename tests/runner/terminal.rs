//! `run -t`: a real terminal.

use std::process::Command;
use std::time::Duration;

use rustix::termios::{tcgetattr, tcsetwinsize};
use tests::container::Runner;
use tests::process::wait_until;
use tests::terminal::{Terminal, size};

fn shell(runner: &Runner) -> Terminal {
    let mut command = runner.command("run");
    command.args(["--rm", "-it", "-e", "PS1=ready:", "host", "sh"]);
    let terminal = Terminal::start(&command);
    terminal.expect("ready:");
    terminal
}

#[test]
fn a_shell_on_a_terminal() {
    let runner = Runner::new();
    let mut terminal = shell(&runner);
    terminal.type_in("tty; test -t 0 && test -t 1 && test -t 2 && echo all$((1+1))\r");
    terminal.expect("/dev/pts/");
    terminal.expect("all2");
    terminal.type_in("exit 5\r");
    assert_eq!(terminal.end(), 5);
}

#[test]
fn the_size_is_passed_on_and_follows() {
    let runner = Runner::new();
    let mut terminal = shell(&runner);
    terminal.type_in("stty size\r");
    terminal.expect("30 100");
    terminal.type_in("trap 'echo changed; stty size' WINCH; echo trap$((1+1))\r");
    terminal.expect("trap2");
    tcsetwinsize(&terminal.master, size(17, 55)).unwrap();
    // The shell runs a trap when it next reads a line, which may be before the signal came.
    let changed = wait_until(Duration::from_secs(120), || {
        terminal.type_in("\r");
        std::thread::sleep(Duration::from_millis(50));
        terminal.text().contains("\nchanged")
    });
    assert!(changed, "no SIGWINCH arrived: {:?}", terminal.text());
    terminal.expect("17 55");
    terminal.type_in("exit\r");
    terminal.end();
}

#[test]
fn control_c_and_job_control_work_inside() {
    let runner = Runner::new();
    let mut terminal = shell(&runner);
    terminal.type_in("sleep 1000\r");
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_in("\x03");
    terminal.type_in("echo code=$?\r");
    terminal.expect("code=130");
    terminal.type_in("sleep 1000\r");
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_in("\x1a");
    terminal.type_in("jobs; kill -KILL %1; wait; echo after$((1+1))\r");
    terminal.expect("Stopped");
    terminal.expect("after2");
    // dash says once that there were stopped jobs.
    terminal.type_in("exit 0\rexit 0\r");
    terminal.end();
}

#[test]
fn the_callers_terminal_is_given_back_as_it_was() {
    let runner = Runner::new();
    let mut command = Command::new("sh");
    let script = format!(
        "stty -g; {} run --root {} --rm -it host true; stty -g; echo end$((1+1))",
        tests::programs::runner().display(),
        runner.state().display()
    );
    command.args(["-c", &script]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("end2");
    let text = terminal.text();
    let modes: Vec<_> = text
        .lines()
        .filter(|l| l.contains(':'))
        .map(str::trim)
        .collect();
    assert_eq!(modes.len(), 2, "{text}");
    assert_eq!(modes[0], modes[1], "terminal modes before and after");
    terminal.end();
    assert!(tcgetattr(&terminal.master).is_ok());
}

#[test]
fn a_terminal_is_asked_for_without_having_one() {
    let runner = Runner::new();
    let line = runner.run(&["-it", "host", "true"]).one_line_error(125);
    assert!(line.contains("terminal") || line.contains("TTY"), "{line}");
}
