//! A terminal of a test's own, with a program on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::process::{Running, wait_until};

/// A program on a terminal of ours.
#[derive(Debug)]
pub struct Terminal {
    /// The side of whoever types.
    pub master: OwnedFd,
    /// The program.
    pub running: Running,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts it on a fresh terminal of 30 rows and 100 columns, as its controlling terminal.
    pub fn start(command: &Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let name = std::str::from_utf8(name.as_bytes()).unwrap().to_owned();
        let slave = || File::options().read(true).write(true).open(&name).unwrap();
        let first = slave();
        tcsetwinsize(&first, size(30, 100)).unwrap();
        let mut wrapped = Command::new("setsid");
        wrapped
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        wrapped
            .stdin(Stdio::from(first))
            .stdout(slave())
            .stderr(slave());
        let running = Running::start(&mut wrapped);
        drop(wrapped);
        let said = Arc::new(Mutex::new(Vec::new()));
        let mut reader = File::from(master.try_clone().unwrap());
        let all = said.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                all.lock().unwrap().extend(&buffer[..n]);
            }
        });
        Self {
            master,
            running,
            said,
        }
    }

    /// Types.
    pub fn type_in(&self, text: &str) {
        File::from(self.master.try_clone().unwrap())
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Waits for the end of the program; gives its exit code.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let ended = wait_until(Duration::from_secs(120), || {
            self.running.0.try_wait().unwrap().is_some()
        });
        assert!(ended, "the program goes on; saw {:?}", self.text());
        self.running.wait(Duration::from_secs(1))
    }

    /// All that was shown so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown.
    #[track_caller]
    pub fn expect(&self, wanted: &str) {
        let there = wait_until(Duration::from_secs(120), || self.text().contains(wanted));
        assert!(there, "waited for {wanted:?}, saw {:?}", self.text());
    }
}

/// A size without pixels.
pub fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
