//! The compiled programs, run by an interpreter written from the kernel's documentation alone,
//! and for real on a thread.

use super::compile::{self, Instruction};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const fn errno(n: i32) -> u32 {
    0x0005_0000 | n as u32
}

/// Runs a program over a call as the kernel would.
fn run(program: &[Instruction], arch: u32, number: u32, args: &[u64]) -> u32 {
    let mut data = [0_u32; 16];
    data[0] = number;
    data[1] = arch;
    for (n, arg) in args.iter().enumerate() {
        data[4 + 2 * n] = *arg as u32;
        data[5 + 2 * n] = (arg >> 32) as u32;
    }
    let (mut pc, mut a) = (0, 0);
    loop {
        let i = program[pc];
        pc += 1;
        let mut branch = |holds| pc += usize::from(if holds { i.jump_true } else { i.jump_false });
        match i.code {
            0x20 => a = data[i.value as usize / 4],
            0x54 => a &= i.value,
            0x15 => branch(a == i.value),
            0x25 => branch(a > i.value),
            0x35 => branch(a >= i.value),
            0x05 => pc += i.value as usize,
            0x06 => return i.value,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn default_with(add: &[&str]) -> impl Fn(&str, &[u64]) -> u32 + use<> {
    let add: Vec<_> = add.iter().map(|s| (*s).to_owned()).collect();
    let caps = CapabilitySet::default_container()
        .adjust(&add, &[])
        .unwrap();
    let filter = Filter::compile(&SeccompChoice::Default, caps).unwrap();
    move |name, args| {
        let number = syscalls::number(name).unwrap();
        run(&filter.program, compile::NATIVE, number, args)
    }
}

#[test]
fn the_default_profile() {
    let call = default_with(&[]);
    for name in [
        "read",
        "openat",
        "execve",
        "futex",
        "statx",
        "ptrace",
        "chroot",
        "fchmodat2",
    ] {
        assert_eq!(call(name, &[]), ALLOW, "{name}");
    }
    for name in [
        "keyctl",
        "add_key",
        "request_key",
        "io_uring_setup",
        "bpf",
        "mount",
        "unshare",
        "setns",
        "open_by_handle_at",
        "init_module",
        "reboot",
        "userfaultfd",
        "pivot_root",
        "syslog",
        "perf_event_open",
        "kexec_load",
        "swapon",
        "fsopen",
        "settimeofday",
    ] {
        assert_eq!(call(name, &[]), errno(libc::EPERM), "{name}");
    }
    assert_eq!(call("clone3", &[]), errno(libc::ENOSYS));
    assert_eq!(call("clone", &[libc::SIGCHLD as u64]), ALLOW);
    for flag in [0x20000_u64, 0x0200_0000, 0x1000_0000, 0x4000_0000] {
        assert_eq!(call("clone", &[flag | 17]), errno(libc::EPERM));
        assert_eq!(call("clone", &[flag | 1 << 40]), errno(libc::EPERM));
    }
    assert_eq!(call("personality", &[0xffff_ffff]), ALLOW);
    assert_ne!(call("personality", &[0x4_0000]), ALLOW);
    let admin = default_with(&["SYS_ADMIN"]);
    for name in ["clone", "clone3", "mount", "unshare", "bpf", "syslog"] {
        assert_eq!(admin(name, &[0x1000_0000]), ALLOW, "{name}");
    }
    assert_eq!(admin("keyctl", &[]), errno(libc::EPERM));
}

#[test]
fn socket_families() {
    let call = default_with(&[]);
    for family in [1_u64, 2, 10, 16, 17, 39, 41] {
        assert_eq!(call("socket", &[family, 1, 0]), ALLOW, "{family}");
    }
    for family in [38_u64, 40] {
        assert_eq!(call("socket", &[family, 1, 0]), errno(libc::EPERM));
        // The kernel looks at the low word only.
        assert_eq!(
            call("socket", &[family | 1 << 32, 1, 0]),
            errno(libc::EPERM)
        );
    }
    assert_eq!(call("socket", &[16, 3, 9]), errno(libc::EINVAL));
    assert_eq!(default_with(&["AUDIT_WRITE"])("socket", &[16, 3, 9]), ALLOW);
}

#[test]
fn foreign_and_unknown_calls() {
    let caps = CapabilitySet::default_container();
    let filter = Filter::compile(&SeccompChoice::Default, caps).unwrap();
    assert_eq!(run(&filter.program, 0x4000_0003, 4, &[]), KILL); // i386
    for number in [0x4000_0000, 0xffff_ffff, 600, 9999] {
        assert_eq!(
            run(&filter.program, compile::NATIVE, number, &[]),
            errno(libc::ENOSYS)
        );
    }
    assert!(filter.program.len() < 1000, "{}", filter.program.len());
}

fn tiny(rules: &str) -> Result<impl Fn(&str, &[u64]) -> u32 + use<>, String> {
    let text = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#);
    let filter = Filter::from_text(&text, CapabilitySet::empty(), (6, 1))?;
    Ok(move |name: &str, args: &[u64]| {
        run(
            &filter.program,
            compile::NATIVE,
            syscalls::number(name).unwrap(),
            args,
        )
    })
}

#[test]
fn every_comparison_on_both_words() {
    let big = 5_u64 << 32 | 7;
    let samples = [
        0,
        6,
        7,
        8,
        big - 1,
        big,
        big + 1,
        4 << 32 | 9,
        6 << 32,
        u64::MAX,
    ];
    type Holds = fn(u64, u64) -> bool;
    let ops: [(&str, Holds); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
    ];
    for (op, holds) in ops {
        for value in samples {
            let call = tiny(&format!(
                r#"{{"name":"read","action":"SCMP_ACT_ALLOW","args":
                   [{{"index":5,"value":{value},"op":"SCMP_CMP_{op}"}}]}}"#
            ))
            .unwrap();
            for arg in samples {
                let allowed = call("read", &[0, 0, 0, 0, 0, arg]) == ALLOW;
                assert_eq!(allowed, holds(arg, value), "{arg:#x} {op} {value:#x}");
            }
        }
    }
}

#[test]
fn the_strictest_rule_wins_and_doubled_arguments_are_alternatives() {
    let call = tiny(
        r#"{"names":["read"],"action":"SCMP_ACT_ALLOW"},
           {"names":["read"],"action":"SCMP_ACT_KILL_PROCESS","args":
             [{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]},
           {"names":["write"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
           {"names":["write","nosuch"],"action":"SCMP_ACT_LOG","includes":{"minKernel":"4.8"}}"#,
    )
    .unwrap();
    assert_eq!(call("read", &[3]), ALLOW);
    assert_eq!(call("read", &[1]), KILL);
    assert_eq!(call("read", &[2]), KILL);
    assert_eq!(call("write", &[]), 0x7ffc_0000);
    assert_eq!(call("close", &[]), errno(1));
}

#[test]
fn bad_profiles_are_refused_with_a_reason() {
    for (rules, word) in [
        (r#"{"action":"SCMP_ACT_ALLOW"}"#, "syscalls[0]"),
        (
            r#"{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}"#,
            "either",
        ),
        (
            r#"{"name":"read","action":"SCMP_ACT_NOTIFY"}"#,
            "SCMP_ACT_NOTIFY",
        ),
        (
            r#"{"name":"read","action":"SCMP_ACT_ALLOW","extra":1}"#,
            "extra",
        ),
        (
            r#"{"name":"read","action":"SCMP_ACT_ERRNO","errnoRet":9999}"#,
            "9999",
        ),
        (
            r#"{"name":"read","action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}"#,
            "index 6",
        ),
        (
            r#"{"name":"read","action":"SCMP_ACT_ALLOW","includes":{"minKernel":"x"}}"#,
            "minKernel",
        ),
    ] {
        let why = tiny(rules).err().unwrap();
        assert!(why.contains(word) && !why.contains('\n'), "{why}");
    }
    let other = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_S390X"]}"#;
    assert!(Filter::from_text(other, CapabilitySet::empty(), (6, 1)).is_err());
    let missing = SeccompChoice::parse("/nonexistent.json");
    assert!(matches!(
        Filter::compile(&missing, CapabilitySet::empty()),
        Err(SeccompError::Read { .. })
    ));
}

#[test]
fn the_kernel_takes_it_and_it_bites() {
    let caps = CapabilitySet::default_container();
    let filter = Filter::compile(&SeccompChoice::Default, caps).unwrap();
    // A filter binds one thread; this one ends with the test.
    let errors = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        filter.install().unwrap();
        let vsock = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Vsock,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::empty(),
            None,
        );
        let flags = nix::sched::CloneFlags::CLONE_NEWUTS;
        (
            vsock.err(),
            nix::sched::unshare(flags).err(),
            std::fs::read("/proc/self/stat").is_ok(),
        )
    });
    let eperm = Some(nix::errno::Errno::EPERM);
    assert_eq!(errors.join().unwrap(), (eperm, eperm, true));
}
