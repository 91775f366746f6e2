//! A daemon under ptrace(2): killed, or lied to, at the n-th system call that matters.
//!
//! ```text
//!   test ── arm(what counts, where, which fault) ──> [Plan] <── looked at at every system call
//!                                                       │
//!   tracer thread: spawn, wait4 ── entry: count it ─────┤── Error: skipped, -errno at its exit
//!                                                       ├── Short: half the bytes, truly written
//!                                  exit ────────────────┴── Kill: SIGKILL, the call was made
//! ```
//!
//! strace could inject too, but it counts per thread and per call name, and its short writes write
//! nothing. Each tracer waits for its own children only (`__WNOTHREAD`), so that several tests of
//! one process do not take each other's.

use std::collections::HashMap;
use std::fs::File;
use std::io::IoSliceMut;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::sys;
use crate::syscalls::{Call, Effect};

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is made, and the process is killed before it hears of it.
    Kill,
    /// The call is not made and gives this errno.
    Error(Errno),
    /// The call is made with half the bytes (calls that write at least two).
    Short,
}

/// Which calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those that change the disk.
    Changes,
    /// All that ask or change a file system.
    Files,
    /// Those that write bytes and may write fewer.
    Writes,
}

/// What to count from now on, and where to strike.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The calls that count.
    pub counted: Counted,
    /// The number of the call (1 is the next one), and what is done to it.
    pub strike: Option<(usize, Fault)>,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    calls: Vec<String>,
    struck: Option<String>,
    ended: Option<i32>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

/// A traced process. Dropping it kills the process.
#[derive(Debug)]
pub struct Tracer {
    pid: i32,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Tracer {
    /// Starts `command` under the tracer, counting by `plan` from its first call; what it says goes
    /// to the file `log`.
    pub fn start(mut command: Command, log: &Path, plan: Option<Plan>) -> Self {
        let output = File::create(log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        sys::let_parent_trace(&mut command);
        let shared = Arc::new(Shared::default());
        shared.state.lock().unwrap().plan = plan;
        let (sender, receiver) = mpsc::channel();
        let theirs = shared.clone();
        // The thread that starts a process is the one that traces it.
        #[expect(clippy::zombie_processes, reason = "the loop waits for it")]
        let thread = std::thread::spawn(move || {
            let child = command
                .spawn()
                .unwrap_or_else(|e| panic!("{command:?}: {e}"));
            let pid = Pid::from_raw(child.id() as i32);
            sender.send(pid.as_raw()).unwrap();
            Loop::new(pid, theirs).run();
        });
        Self {
            pid: receiver.recv().unwrap(),
            shared,
            thread: Some(thread),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Starts counting anew.
    pub fn arm(&self, plan: Plan) {
        let mut state = self.shared.state.lock().unwrap();
        state.plan = Some(plan);
        state.calls.clear();
        state.struck = None;
    }

    /// Ends counting; gives the calls counted, in words.
    pub fn disarm(&self) -> Vec<String> {
        let mut state = self.shared.state.lock().unwrap();
        state.plan = None;
        std::mem::take(&mut state.calls)
    }

    /// The call that was struck, if one was.
    pub fn struck(&self) -> Option<String> {
        self.shared.state.lock().unwrap().struck.clone()
    }

    /// How it ended (exit code, or 128 + signal), if it has.
    pub fn ended(&self) -> Option<i32> {
        self.shared.state.lock().unwrap().ended
    }

    /// Kills it.
    pub fn kill(&self) {
        if self.ended().is_none() {
            let pid = rustix::process::Pid::from_raw(self.pid).unwrap();
            // It may end by itself at this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    /// Waits for its end; panics after `limit`.
    #[track_caller]
    pub fn wait(&self, limit: Duration) -> i32 {
        let state = self.shared.state.lock().unwrap();
        let wait = |state: &mut State| state.ended.is_none();
        let (state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, limit, wait)
            .unwrap();
        state
            .ended
            .unwrap_or_else(|| panic!("process {} still runs after {limit:?}", self.pid))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.kill();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the tracer failed");
        }
    }
}

/// What a thread of the process is waited for at the exit of its call.
enum AtExit {
    Kill,
    Give(Errno),
    /// The registers that were changed: rdx and r8.
    Restore(u64, u64),
}

struct Loop {
    leader: Pid,
    shared: Arc<Shared>,
    /// Threads inside a call.
    inside: HashMap<Pid, Option<AtExit>>,
    begun: bool,
}

impl Loop {
    fn new(leader: Pid, shared: Arc<Shared>) -> Self {
        Self {
            leader,
            shared,
            inside: HashMap::new(),
            begun: false,
        }
    }

    fn run(mut self) {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) => self.gone(pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.gone(pid, 128 + signal as i32),
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.at_call(pid);
                    resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => self.stopped(pid, signal),
                Ok(other) => resume(other.pid().unwrap(), None),
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return,
                Err(error) => panic!("waitpid: {error}"),
            }
        }
    }

    fn gone(&mut self, pid: Pid, code: i32) {
        self.inside.remove(&pid);
        if pid == self.leader {
            self.shared.state.lock().unwrap().ended = Some(code);
            self.shared.ended.notify_all();
        }
    }

    fn stopped(&mut self, pid: Pid, signal: Signal) {
        if pid == self.leader && !self.begun && signal == Signal::SIGTRAP {
            self.begun = true;
            let options = Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_EXITKILL;
            // It may have been killed since: its end is told next.
            let _ = ptrace::setoptions(pid, options);
            return resume(pid, None);
        }
        // A new thread begins with a SIGSTOP that is meant for us.
        let ours = signal == Signal::SIGSTOP;
        resume(pid, (!ours).then_some(signal));
    }

    /// At the entry to or the exit from a call. Every error here means that the process was killed.
    fn at_call(&mut self, pid: Pid) {
        if let Some(at_exit) = self.inside.remove(&pid) {
            let _ = match at_exit {
                None => Ok(()),
                Some(AtExit::Kill) => nix::sys::signal::kill(self.leader, Signal::SIGKILL),
                Some(AtExit::Give(errno)) => ptrace::getregs(pid).and_then(|mut registers| {
                    registers.rax = i64::from(errno as i32).wrapping_neg().cast_unsigned();
                    ptrace::setregs(pid, registers)
                }),
                // The kernel gives back all registers but the result as they were.
                Some(AtExit::Restore(rdx, r8)) => ptrace::getregs(pid).and_then(|after| {
                    ptrace::setregs(pid, libc::user_regs_struct { rdx, r8, ..after })
                }),
            };
            return;
        }
        let at_exit = ptrace::getregs(pid)
            .ok()
            .and_then(|registers| self.entering(pid, registers));
        self.inside.insert(pid, at_exit);
    }

    fn entering(&self, pid: Pid, registers: libc::user_regs_struct) -> Option<AtExit> {
        let call = call_of(&registers);
        let (effect, name, path) = call.about();
        let mut state = self.shared.state.lock().unwrap();
        let plan = state.plan?;
        let counts = match plan.counted {
            Counted::Changes => effect == Effect::Change,
            Counted::Files => effect != Effect::Other,
            Counted::Writes => call.length().is_some_and(|i| call.arguments[i] > 1),
        };
        if !counts {
            return None;
        }
        let path = path.map(|argument| text_at(pid, call.arguments[argument]));
        let told = format!("{name}({})", path.unwrap_or_default());
        state.calls.push(told.clone());
        let (at, fault) = plan.strike?;
        if state.calls.len() != at {
            return None;
        }
        state.struck = Some(told);
        drop(state);
        match fault {
            Fault::Kill => Some(AtExit::Kill),
            Fault::Error(errno) => {
                let skipped = libc::user_regs_struct {
                    orig_rax: u64::MAX,
                    ..registers
                };
                ptrace::setregs(pid, skipped).ok()?;
                Some(AtExit::Give(errno))
            }
            Fault::Short => {
                let mut shorter = registers;
                match call.length()? {
                    2 => shorter.rdx /= 2,
                    _ => shorter.r8 /= 2,
                }
                ptrace::setregs(pid, shorter).ok()?;
                Some(AtExit::Restore(registers.rdx, registers.r8))
            }
        }
    }
}

fn call_of(registers: &libc::user_regs_struct) -> Call {
    Call {
        number: registers.orig_rax.cast_signed(),
        arguments: [
            registers.rdi,
            registers.rsi,
            registers.rdx,
            registers.r10,
            registers.r8,
            registers.r9,
        ],
    }
}

/// Lets a thread run to its next stop. A thread that was killed meanwhile is told of by waitpid.
fn resume(pid: Pid, signal: Option<Signal>) {
    let _ = ptrace::syscall(pid, signal);
}

/// The C string at an address of another process, for messages: as much as can be read.
fn text_at(pid: Pid, address: u64) -> String {
    let mut buffer = [0; 256];
    let in_page = 4096 - (address % 4096) as usize;
    let length = buffer.len().min(in_page);
    let remote = RemoteIoVec {
        base: address as usize,
        len: length,
    };
    let local = &mut [IoSliceMut::new(&mut buffer[..length])];
    let read = process_vm_readv(pid, local, &[remote]).unwrap_or(0);
    let text = buffer[..read].split(|byte| *byte == 0).next();
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}
