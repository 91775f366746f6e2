//! `run`: what a container sees and may do, in a golden picture and by probes.

use tests::container::{Runner, debian};

#[test]
fn golden_status() {
    let runner = Runner::new();
    let names = "CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters|Uid|Gid|Groups|Umask|NSpid|SigBlk|SigIgn";
    let status = runner
        .run(&[
            "host",
            "grep",
            "-E",
            &format!("^({names}):"),
            "/proc/self/status",
        ])
        .ok();
    let status: String = status
        .lines()
        .map(|l| l.trim_end().to_owned() + "\n")
        .collect();
    let golden = "Umask:\t0022\n\
        Uid:\t0\t0\t0\t0\n\
        Gid:\t0\t0\t0\t0\n\
        Groups:\t0\n\
        NSpid:\t1\n\
        SigBlk:\t0000000000000000\n\
        SigIgn:\t0000000000000000\n\
        CapInh:\t0000000000000000\n\
        CapPrm:\t00000000800405fb\n\
        CapEff:\t00000000800405fb\n\
        CapBnd:\t00000000800405fb\n\
        CapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\n\
        Seccomp:\t2\n\
        Seccomp_filters:\t1\n";
    assert_eq!(status, golden);
}

#[test]
fn golden_descriptors_and_working_directory() {
    let runner = Runner::new();
    // 3 is the directory that ls itself has open.
    assert_eq!(
        runner.run(&["host", "ls", "/proc/self/fd"]).ok(),
        "0\n1\n2\n3\n"
    );
    let out = runner
        .run(&[
            "host",
            "readlink",
            "/proc/1/cwd",
            "/proc/1/root",
            "/proc/self/ns/pid",
        ])
        .ok();
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert!(
        out.starts_with("/\n/\npid:") && !out.contains(own.to_str().unwrap()),
        "{out}"
    );
}

#[test]
fn every_namespace_is_its_own() {
    let runner = Runner::new();
    for name in ["mnt", "pid", "uts", "ipc", "cgroup", "net"] {
        let inside = runner
            .run(&["host", "readlink", &format!("/proc/self/ns/{name}")])
            .ok();
        let outside = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_ne!(inside.trim(), outside.to_str().unwrap(), "{name}");
    }
}

#[test]
fn golden_devices() {
    let runner = Runner::new();
    let out = runner.sh(&[], "cd /dev; find . -mindepth 1 -not -path './pts/*' -printf '%P %y %m %l\\n' | sort; cat /dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 1 /dev/urandom | wc -c").ok();
    for line in [
        "fd l 777 /proc/self/fd",
        "full c 666 ",
        "mqueue d 1777 ",
        "null c 666 ",
        "ptmx l 777 pts/ptmx",
        "pts d 755 ",
        "random c 666 ",
        "shm d 1777 ",
        "stderr l 777 /proc/self/fd/2",
        "tty c 666 ",
        "urandom c 666 ",
        "zero c 666 ",
        " 00 00 00",
    ] {
        assert!(
            out.lines().any(|l| l == line),
            "{line:?} is missing:\n{out}"
        );
    }
    let nodes = out
        .lines()
        .filter(|l| l.contains(" c ") || l.contains(" b "))
        .count();
    assert_eq!(nodes, 6, "other devices:\n{out}");
}

#[test]
fn devices_of_the_host_are_out_of_reach() {
    let runner = Runner::new();
    // Even with the capability to make a node: the cgroup and the mount forbid its use.
    let script = "mknod /dev/x b 254 0 && dd if=/dev/x of=/dev/null count=1; mknod /y c 1 1 && cat /y | head -c 1; echo end";
    let output = runner.sh(&["--cap-add", "MKNOD"], script);
    assert_eq!(output.out(), "end\n", "{output}");
    assert!(
        output.err().contains("not permitted") || output.err().contains("denied"),
        "{output}"
    );
}

#[test]
fn golden_masks_and_read_only_paths() {
    let runner = Runner::new();
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/sched_debug; do \
          test ! -e $f || test $(head -c 10 $f 2>/dev/null | wc -c) = 0 || echo open $f; done; \
        for d in /proc/acpi /proc/scsi /sys/firmware; do test ! -e $d || test -z \"$(ls -A $d)\" || echo open $d; done; \
        for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/transparent_hugepage/enabled; do \
          test ! -e $f || ! (: >> $f) 2>/dev/null || echo writable $f; done; echo end";
    assert_eq!(runner.sh(&[], script).ok(), "end\n");
    let script = "mount -o remount,rw /proc/sys; mount -o remount,rw /sys; umount /proc/kcore; mount --bind / /mnt; echo end";
    let output = runner.sh(&[], script);
    assert_eq!(output.out(), "end\n");
    assert!(
        output.err().lines().count() >= 4,
        "a mount call succeeded: {output}"
    );
}

#[test]
fn system_calls_that_are_refused() {
    let script = r#"python3 -c "
import ctypes, errno, socket, os
c = ctypes.CDLL(None, use_errno=True)
def call(name, number, *a):
    ctypes.set_errno(0)
    r = c.syscall(number, *a)
    print(name, 'ok' if r >= 0 else errno.errorcode[ctypes.get_errno()])
call('keyctl', 250, 0, -3, 1)
call('add_key', 248, b'user', b'x', b'y', 1, -3)
call('bpf', 321, 0, 0, 0)
call('io_uring_setup', 425, 1, 0)
call('userfaultfd', 323, 0)
call('perf_event_open', 298, 0, 0, -1, -1, 0)
call('kexec_load', 246, 0, 0, 0, 0)
call('init_module', 175, 0, 0, 0)
call('unshare_user', 272, 0x10000000)
call('mount', 165, 0, 0, 0, 0, 0)
call('setns', 308, 0, 0)
call('open_by_handle_at', 304, -1, 0, 0)
call('unknown', 9999)
for family in (38, 40):
    try:
        socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_STREAM); print('family', family, 'ok')
    except OSError as e:
        print('family', family, errno.errorcode[e.errno])
os.getpid(); print('getpid ok')
""#;
    let runner = Runner::new();
    let out = runner.debian(&[], script).ok();
    for line in out.lines() {
        let refused = !line.ends_with(" ok") || line == "getpid ok";
        assert!(refused, "{line}\n{out}");
    }
    assert!(out.contains("unknown ENOSYS"), "{out}");
    assert!(out.contains("getpid ok"), "{out}");
}

#[test]
fn capabilities_can_be_added_and_dropped() {
    let runner = Runner::new();
    let effective = |flags: &[&str]| {
        let out = runner.sh(flags, "grep CapEff /proc/self/status").ok();
        u64::from_str_radix(out.trim().rsplit('\t').next().unwrap(), 16).unwrap()
    };
    let usual = 0x8004_05fb;
    assert_eq!(effective(&[]), usual);
    assert_eq!(effective(&["--cap-drop", "ALL"]), 0);
    assert_eq!(effective(&["--cap-drop", "CHOWN"]), usual & !1);
    assert_eq!(effective(&["--cap-add", "NET_ADMIN"]), usual | 1 << 12);
    assert_eq!(effective(&["--cap-add", "cap_sys_time"]), usual | 1 << 25);
    assert_eq!(
        effective(&["--cap-drop", "all", "--cap-add", "KILL"]),
        1 << 5
    );
    assert!(effective(&["--cap-add", "ALL"]).count_ones() > 30);
    assert!(effective(&["--privileged"]).count_ones() > 30);
    for flag in ["--cap-add", "--cap-drop"] {
        let line = runner.sh(&[flag, "NONSENSE"], "true").one_line_error(125);
        assert!(line.contains("NONSENSE"), "{line}");
    }
}

#[test]
fn security_options() {
    let runner = Runner::new();
    let get = |flags: &[&str]| {
        let out = runner
            .sh(flags, "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status")
            .ok();
        out.replace(['\t', '\n'], " ")
    };
    assert_eq!(
        get(&["--security-opt", "seccomp=unconfined"]),
        "NoNewPrivs: 1 Seccomp: 0 "
    );
    assert_eq!(
        get(&["--security-opt", "no-new-privileges=false"]),
        "NoNewPrivs: 0 Seccomp: 2 "
    );
    assert_eq!(get(&["--privileged"]).split(' ').nth(3), Some("0"));
    let file = runner.scratch.join("profile.json");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    std::fs::write(&file, profile).unwrap();
    let option = format!("seccomp={}", file.display());
    let output = runner.sh(&["--security-opt", &option], "mkdir /x; echo $?");
    assert!(
        output.out() == "1\n" && output.err().contains("not implemented"),
        "{output}"
    );
    std::fs::write(&file, "{ not json").unwrap();
    for bad in [
        option.as_str(),
        "seccomp=/no/such/file",
        "nonsense",
        "no-new-privileges=perhaps",
    ] {
        runner
            .sh(&["--security-opt", bad], "true")
            .one_line_error(125);
    }
}

#[test]
fn setuid_programs_gain_nothing() {
    let runner = Runner::new();
    let script = "cp /usr/bin/id /id; chmod 4755 /id; setpriv --reuid=1234 --clear-groups /id -u";
    assert_eq!(runner.sh(&[], script).ok(), "1234\n");
    let flags = ["--security-opt", "no-new-privileges=false"];
    assert_eq!(runner.sh(&flags, script).ok(), "0\n");
}

#[test]
fn the_hosts_processes_and_our_own_program_are_out_of_reach() {
    let runner = Runner::new();
    let out = runner
        .sh(
            &[],
            "ls /proc | grep -c '^[0-9]'; kill -0 2000000 2>&1 | wc -l",
        )
        .ok();
    let processes: usize = out.lines().next().unwrap().parse().unwrap();
    assert!(processes <= 4, "{out}");
    // CVE-2019-5736: /proc/self/exe of a process of ours, seen from inside, cannot be written.
    let program = tests::programs::runner();
    let before = std::fs::metadata(program).unwrap();
    let image = format!("dir:{}", debian().display());
    let output = runner.run(&[&image, "/proc/self/exe", "--version"]);
    assert!(
        output.code != 0 || !output.out().contains("runner"),
        "our program runs inside: {output}"
    );
    let script = "for p in /proc/[0-9]*; do echo x > $p/exe; done 2>/dev/null; echo end";
    assert_eq!(runner.sh(&["--privileged"], script).ok(), "end\n");
    let after = std::fs::metadata(program).unwrap();
    assert_eq!(before.len(), after.len());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}

#[test]
fn old_ways_out_are_shut() {
    let runner = Runner::new();
    // CVE-2024-21626: a working directory by a leaked descriptor.
    for fd in 3..12 {
        let output = runner.sh(
            &["-w", &format!("/proc/self/fd/{fd}")],
            "cat ../../../etc/shadow | head -c 1; pwd",
        );
        assert_ne!(output.code, 0, "{output}");
    }
    // CVE-2022-0492: release_agent.
    let script = "mkdir /tmp/cg && mount -t cgroup -o memory cgroup /tmp/cg; \
        for f in $(find /sys/fs/cgroup -name release_agent); do echo x > $f && echo written; done; echo end";
    let output = runner.sh(&["-u", "0"], script);
    assert_eq!(output.out(), "end\n", "{output}");
    // chroot tricks end at the container's root.
    let script = r#"python3 -c "
import os
os.mkdir('/jail'); fd = os.open('/', os.O_RDONLY); os.chroot('/jail'); os.fchdir(fd)
for _ in range(64): os.chdir('..')
os.chroot('.')
print(os.path.exists('/layerfs-marker'), os.stat('/').st_ino == os.stat('/..').st_ino)
""#;
    assert_eq!(runner.debian(&[], script).ok(), "False True\n");
}

#[test]
fn mounts_of_the_container_do_not_show_outside() {
    let runner = Runner::new();
    let before = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let script = "mount -t tmpfs inner /mnt && grep -c inner /proc/mounts";
    assert_eq!(runner.sh(&["--privileged"], script).ok(), "1\n");
    assert!(
        !std::fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .contains("inner /mnt"),
        "{before}"
    );
}
