//! The bridge: addresses, the way out and in, published ports, names and resolvers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tests::container::Runner;
use tests::process::{Running, wait_until};

/// A server for both protocols on port 80: answers with the client's address.
const SERVER: &str = "
import os, socket, threading
def tcp(family, address):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(41, 26, 1)
    s.bind((address, 80)); s.listen(64)
    while True:
        c, peer = s.accept(); c.sendall(peer[0].encode()); c.close()
def udp(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(41, 26, 1)
    s.bind((address, 80))
    while True:
        data, peer = s.recvfrom(100); s.sendto(peer[0].encode(), peer)
for family, address in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
    for serve in (tcp, udp):
        threading.Thread(target=serve, args=(family, address)).start()
open('/marks/ready', 'w').close()
";

/// Starts the server in a container.
fn server(runner: &Runner, flags: &[&str]) -> Running {
    let marks = runner.scratch.dir("marks");
    let _ = std::fs::remove_file(marks.join("ready"));
    let volume = format!("{}:/marks", marks.display());
    let image = format!("dir:{}", tests::container::debian().display());
    let mut command = runner.command("run");
    command.args(["--rm", "-v", &volume]).args(flags);
    command.args([&image, "python3", "-c", SERVER]);
    let running = Running::start(command.stdin(Stdio::null()));
    let ready = wait_until(Duration::from_secs(120), || marks.join("ready").exists());
    assert!(ready, "the server never started");
    running
}

fn stop(mut running: Running) {
    running.signal(Signal::KILL);
    running.wait(Duration::from_secs(10));
}

fn ask_tcp(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn ask_udp(address: &str) -> std::io::Result<String> {
    let address: SocketAddr = address.parse().unwrap();
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.connect(address)?;
    socket.send(b"x")?;
    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// The address that the container has, and its gateway's.
fn addresses(runner: &Runner, flags: &[&str]) -> (String, String) {
    let script = "hostname -I; cat /proc/net/route";
    let text = runner.debian(flags, script).ok();
    let own = text.split_whitespace().next().unwrap().to_owned();
    let route = text
        .lines()
        .find(|line| line.split('\t').nth(1) == Some("00000000"));
    let gateway = route.unwrap().split('\t').nth(2).unwrap();
    let number = u32::from_str_radix(gateway, 16).unwrap();
    (
        own,
        std::net::Ipv4Addr::from(number.swap_bytes()).to_string(),
    )
}

#[test]
fn the_bridge_is_the_default_and_leads_to_the_machine() {
    let runner = Runner::new();
    let names = "ls /sys/class/net | tr '\\n' ' '";
    assert_eq!(runner.sh(&[], names).ok(), "eth0 lo ");
    assert_eq!(runner.sh(&["--network", "bridge"], names).ok(), "eth0 lo ");
    let (first, gateway) = addresses(&runner, &[]);
    let (second, _) = addresses(&runner, &[]);
    assert_ne!(first, second, "an address that was just given back rests");
    let (own, _) = addresses(&runner, &["--ip", &first]);
    assert_eq!(own, first);
    let line = runner
        .run(&["--ip", &gateway, "host", "true"])
        .one_line_error(125);
    assert!(line.contains("machine's own"), "{line}");
    let mac = "cat /sys/class/net/eth0/address";
    let flags = ["--mac-address", "02:00:00:00:00:07"];
    assert_eq!(runner.sh(&flags, mac).ok(), "02:00:00:00:00:07\n");
}

#[test]
fn published_ports_are_reached_on_every_address() {
    let runner = Runner::new();
    let flags = [
        "--name",
        "web",
        "-p",
        "18180:80",
        "-p",
        "127.0.0.1:18181:80",
        "-p",
        "18180:80/udp",
        "-p",
        "[::1]:18182:80",
    ];
    let running = server(&runner, &flags);
    let (_, gateway) = addresses(&runner, &[]);
    for address in [
        "127.0.0.1:18180",
        "[::1]:18180",
        "127.0.0.1:18181",
        "[::1]:18182",
    ] {
        ask_tcp(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    ask_udp("127.0.0.1:18180").unwrap();
    ask_udp("[::1]:18180").unwrap();
    // The machine's own address is seen by the container as it is.
    assert_eq!(ask_tcp(&format!("{gateway}:18180")).unwrap(), gateway);
    assert_eq!(ask_udp(&format!("{gateway}:18180")).unwrap(), gateway);
    // Published on loopback only.
    assert!(ask_tcp(&format!("{gateway}:18181")).is_err());
    let script = |port: u16| {
        format!(
            "python3 -c \"import socket; print(socket.create_connection(('{gateway}', {port}), 3)\
             .recv(99).decode())\""
        )
    };
    // From another container, and from the same one.
    runner.debian(&[], &script(18180)).ok();
    assert_ne!(runner.debian(&[], &script(18181)).code, 0);
    runner
        .debian(&["--network", "container:web"], &script(18180))
        .ok();
    let taken = runner
        .run(&["-p", "18180:80", "host", "true"])
        .one_line_error(125);
    assert!(
        taken.contains("18180/tcp is in use by container web"),
        "{taken}"
    );
    stop(running);
}

#[test]
fn a_port_that_another_program_has_is_refused() {
    let runner = Runner::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let flag = format!("{port}:80");
    let line = runner
        .run(&["-p", &flag, "host", "true"])
        .one_line_error(125);
    assert!(line.contains("in use by another program"), "{line}");
    let elsewhere = ["-p", "192.0.2.254:80:80", "host", "true"];
    let line = runner.run(&elsewhere).one_line_error(125);
    assert!(line.contains("no address of this machine"), "{line}");
}

#[test]
fn ten_at_once_have_ten_addresses() {
    let runner = Runner::new();
    let found: Vec<String> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| addresses(&runner, &[]).0))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    let mut different = found.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 10, "{found:?}");
}

#[test]
fn hosts_and_resolver() {
    let runner = Runner::new();
    let script = "grep -c gate /etc/hosts; getent hosts db; getent hosts $(hostname) | wc -l; \
                  cat /etc/resolv.conf";
    let flags = [
        "--add-host",
        "gate:host-gateway",
        "--add-host",
        "db:10.1.2.3",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
    ];
    let text = runner.debian(&flags, script).ok();
    assert!(text.starts_with("1\n10.1.2.3 "), "{text}");
    let resolver = "search example.org\nnameserver 192.0.2.53\noptions ndots:2\n";
    assert!(text.ends_with(resolver), "{text}");
    let own = runner.debian(&[], "cat /etc/resolv.conf").ok();
    assert!(!own.contains("nameserver 127."), "{own}");
}

#[test]
fn flags_that_do_not_go_together_are_told() {
    let runner = Runner::new();
    for (args, why) in [
        (&["--network", "host", "--ip", "10.0.0.2"][..], "--ip"),
        (
            &["--network", "none", "--network", "host"],
            "no other network",
        ),
        (&["--network", "surely-none"], "no such network"),
        (&["--network", "container:surely-none"], "no such container"),
        (&["-p", "80:x"], "port number"),
        (&["--mac-address", "01:00:00:00:00:00"], "group"),
    ] {
        let args = [args, &["host", "true"]].concat();
        let line = runner.run(&args).one_line_error(125);
        assert!(line.contains(why), "{args:?}: {line}");
    }
}

/// Kept open by the relay, a connection carries bytes both ways and ends on both sides.
#[test]
fn the_relay_carries_a_long_conversation() {
    let runner = Runner::new();
    let marks = runner.scratch.dir("marks");
    let volume = format!("{}:/marks", marks.display());
    let image = format!("dir:{}", tests::container::debian().display());
    let echo = "
import socket
s = socket.socket(); s.bind(('0.0.0.0', 7)); s.listen()
open('/marks/ready', 'w').close()
c, _ = s.accept()
while True:
    data = c.recv(65536)
    if not data: break
    c.sendall(data)
c.close()
";
    let mut command = runner.command("run");
    command.args(["--rm", "-v", &volume, "-p", "127.0.0.1:18190:7", &image]);
    command.args(["python3", "-c", echo]);
    let mut running = Running::start(command.stdin(Stdio::null()));
    assert!(wait_until(Duration::from_secs(120), || marks
        .join("ready")
        .exists()));
    let stream = TcpStream::connect("127.0.0.1:18190").unwrap();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let copy = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    (&stream).read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(
        got == sent,
        "{} of {} bytes came back",
        got.len(),
        sent.len()
    );
    assert_eq!(running.wait(Duration::from_secs(10)), 0);
}
