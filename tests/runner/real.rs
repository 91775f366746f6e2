//! Real programs in a real Debian root: in a container of the directory, in one of an imported
//! image, and on a plain copy of the root; all three say the same.

use std::process::Command;

use tests::container::{Runner, debian};
use tests::process::{Output, run};
use tests::scratch::Scratch;

/// The same script in a chroot of a plain copy, with a /proc and a clean environment.
fn plain(scratch: &Scratch, script: &str) -> Output {
    let root = scratch.join("plain");
    if !root.exists() {
        tests::snapshot::plain_copy(&debian(), &root);
    }
    let mut command = Command::new("unshare");
    let wrapped = "mount -t proc proc \"$0/proc\" && mount --bind /dev \"$0/dev\" && exec chroot \"$0\" sh -c \"$1\"";
    command
        .args(["-m", "-n", "-p", "-f", "-u", "-i", "sh", "-c", wrapped])
        .arg(&root)
        .arg(script);
    command.env_clear();
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    run(command.env("HOME", "/root"))
}

/// Runs the script in a container of the directory and on the plain copy.
#[track_caller]
fn same(script: &str) -> String {
    let runner = Runner::new();
    let wanted = plain(&runner.scratch, script);
    let found = runner.debian(&[], script);
    assert_eq!(
        found.code, wanted.code,
        "container: {found}\nplain copy: {wanted}"
    );
    assert_eq!(
        found.out(),
        wanted.out(),
        "left: container, right: plain copy"
    );
    assert_eq!(wanted.code, 0, "{wanted}");
    wanted.out()
}

#[test]
fn shell_pipelines() {
    let out = same(
        "cd /usr && find . -type f | sort | xargs md5sum | sort | md5sum; \
         cut -d: -f1 /etc/passwd | sort -r | head -5 | tr a-z A-Z | nl; \
         yes | head -100000 | wc -l; seq 1000 | awk '{s+=$1} END {print s}'",
    );
    assert!(out.contains("500500"));
}

#[test]
fn every_file_is_listed_the_same() {
    same(
        "cd / && find . -xdev \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./etc/hosts \
          -o -path ./etc/hostname -o -path ./etc/resolv.conf -o -path ./run -o -path ./tmp \\) -prune -o \
          -mindepth 2 ! -path ./etc ! -path ./usr/sbin -printf '%p %y %m %U:%G %l %T@\\n' ! -type d -printf '%s %n\\n' | sort | md5sum",
    );
}

#[test]
fn dpkg_lists_and_verifies() {
    let out = same(
        "dpkg -l | wc -l; dpkg -l git python3 | tail -2; dpkg -S /bin/ls; dpkg --verify coreutils && echo verified",
    );
    assert!(out.contains("verified"));
}

const INSTALL: &str = "export DEBIAN_FRONTEND=noninteractive; \
    apt-get install -y --no-download hello tree >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }; \
    hello; tree --version; dpkg -s hello | grep Status; dpkg -i /var/cache/apt/archives/hello_*.deb | grep -c Setting; \
    apt-get remove -y hello >/dev/null 2>&1; test ! -e /usr/bin/hello && echo removed; dpkg --audit && echo clean";

#[test]
fn apt_installs_and_removes_packages() {
    let out = same(INSTALL);
    assert!(
        out.contains("Hello, world!") && out.contains("removed") && out.contains("clean"),
        "{out}"
    );
}

#[test]
fn apt_installs_in_an_imported_image() {
    let runner = Runner::new();
    let tar = tools::testroot::provide().unwrap().tar;
    runner
        .call("import", &[tar.to_str().unwrap(), "debian"])
        .ok();
    let output = runner.run(&["debian", "sh", "-c", INSTALL]);
    assert_eq!(output.ok(), plain(&runner.scratch, INSTALL).ok());
    // A second container of the image knows nothing of it.
    runner
        .run(&["debian", "sh", "-c", "test ! -e /usr/bin/tree"])
        .ok();
    runner.call("rmi", &["debian"]).ok();
}

#[test]
fn python_runs_and_uses_the_file_system() {
    let out = same(
        r#"python3 -c "
import os, json, sqlite3, tempfile, shutil, hashlib, subprocess, mmap, fcntl
d = tempfile.mkdtemp()
db = sqlite3.connect(os.path.join(d, 'x.db')); db.execute('pragma journal_mode=wal')
db.execute('create table t(a, b)')
with db: db.executemany('insert into t values(?, ?)', [(i, str(i)) for i in range(5000)])
print(db.execute('select count(*), sum(a) from t').fetchone(), db.execute('pragma integrity_check').fetchone())
db.close()
shutil.copytree('/usr/lib/python3', os.path.join(d, 'copy'), symlinks=True)
print(sum(len(f) for _, _, f in os.walk(os.path.join(d, 'copy'))))
with open('/etc/debian_version', 'a+') as f:
    fcntl.flock(f, fcntl.LOCK_EX); f.write('more'); f.seek(0); print(f.read())
print(subprocess.run(['uname', '-s'], capture_output=True, text=True).stdout.strip())
shutil.rmtree(d); print(os.path.exists(d))
""#,
    );
    assert!(out.contains("(5000, 12497500) ('ok',)"), "{out}");
}

#[test]
fn a_c_program_is_compiled_and_runs() {
    let out = same(
        r#"mkdir /src && cd /src && printf '#include <stdio.h>\n#include <math.h>\nint f(int);int main(void){printf("%%d\\n", f(20));return 0;}\n' > a.c
printf 'int f(int n){return n<2?n:f(n-1)+f(n-2);}\n' > b.c
printf 'prog: a.o b.o\n\tgcc -o prog a.o b.o\n%%.o: %%.c\n\tgcc -O2 -c $<\n' > Makefile
make -s -j2 && ./prog && strip prog && ./prog && touch b.c && make | grep -c gcc && make -q && ldd prog | grep -c libc"#,
    );
    assert!(out.starts_with("6765\n6765\n"), "{out}");
}

#[test]
fn tar_goes_in_and_out() {
    same(
        "cd /tmp && tar cf a.tar --numeric-owner --sort=name -C / etc/apt usr/share/perl5 && mkdir x && tar xf a.tar -C x && \
         diff -r x/usr/share/perl5 /usr/share/perl5 && tar df a.tar -C / && tar czf b.tgz x && tar tzf b.tgz | sort | md5sum; \
         rm -rf x a.tar b.tgz; ls -A /tmp | wc -l",
    );
}

#[test]
fn git_keeps_a_repository() {
    let out = same(
        "export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_NOSYSTEM=1; \
         git config --global user.name T; git config --global user.email t@example.org; git config --global init.defaultBranch main; \
         mkdir /repo && cd /repo && git init -q . && cp -r /usr/share/perl5 . && git add . && git commit -qm one && \
         git status --short | wc -l && echo more >> perl5/Debconf/Config.pm 2>/dev/null; echo x > new && git add -A && git commit -qm two && \
         git log --format=%H%n%s && git gc -q && git fsck && git checkout -q HEAD~1 && git status --short && git clone -q . /clone && ls /clone | head -3",
    );
    assert!(out.contains("two"), "{out}");
}

#[test]
fn ownership_of_a_whole_tree_changes() {
    same(
        "chown -R 1234:77 /usr/share && chmod -R g+w /usr/share && find /usr/share -printf '%U:%G %m %y\\n' | sort | uniq -c",
    );
}

#[test]
fn a_lower_tree_is_removed_and_made_again() {
    same(
        "cp -a /usr/share/perl5 /tmp/p && rm -rf /usr/share/perl5 && mv /tmp/p /usr/share/perl5 && find /usr/share/perl5 | sort | md5sum; \
          mv /usr/share /usr/share2 && mv /usr/share2 /usr/share && perl -e 'print \"perl\\n\"'",
    );
}

#[test]
fn users_are_added_and_used() {
    same(
        "useradd -m -s /bin/sh alice && su alice -c 'cd && echo hi > f && ls -l f | cut -c1-10 && id -un' && userdel -r alice && test ! -e /home/alice && echo gone",
    );
}
