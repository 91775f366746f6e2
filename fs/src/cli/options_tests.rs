//! The words of `-o`: what acts, what is escaped, what is refused.

use super::*;

fn parse(lists: &[&str]) -> Result<Options, OptionError> {
    let mut options = Options::default();
    for list in lists {
        options.apply(OsStr::new(list), false)?;
    }
    Ok(options)
}

fn plan(list: &str) -> Plan {
    parse(&[list])
        .and_then(Options::plan)
        .expect("these options are good")
}

#[test]
fn the_leftmost_lower_is_the_topmost() {
    let plan = plan("lowerdir=/a:/b,upperdir=/u,workdir=/w");
    assert_eq!(
        plan.config.lowers,
        [PathBuf::from("/a"), PathBuf::from("/b")]
    );
    let upper = plan.config.upper.expect("an upper was given");
    assert_eq!(
        (upper.upper, upper.work),
        (PathBuf::from("/u"), PathBuf::from("/w"))
    );
    assert!(!plan.mount.read_only && !plan.mount.nosuid && !plan.mount.nodev);
}

#[test]
fn colons_commas_and_backslashes_are_escaped() {
    let plan = plan(r"lowerdir=/a\:b:/c\,d:/e\\,upperdir=/u\,\:,workdir=/w\\x,fsname=a\,b c");
    let lowers = ["/a:b", "/c,d", r"/e\"].map(PathBuf::from);
    assert_eq!(plan.config.lowers, lowers);
    let upper = plan.config.upper.expect("an upper was given");
    assert_eq!(
        (upper.upper, upper.work),
        (PathBuf::from("/u,:"), PathBuf::from(r"/w\x"))
    );
    assert_eq!(plan.mount.fsname, "a,b c");
}

#[test]
fn lowers_can_be_added_one_by_one_and_lists_repeated() {
    let options = parse(&["lowerdir+=/a:colon,lowerdir+=/b", "ro,lowerdir+=/c"]).expect("good");
    assert_eq!(options.lowers, ["/a:colon", "/b", "/c"].map(PathBuf::from));
    assert!(options.read_only);
}

#[test]
fn writes_are_held_back_only_where_nothing_changes_by_itself() {
    let plan = |list| parse(&[list]).and_then(Options::plan);
    assert!(matches!(
        plan("lowerdir=/a,io=writeback,timeout=1"),
        Err(OptionError::Timeout)
    ));
    let held = plan("lowerdir=/a,io=writeback").expect("good");
    assert_eq!(held.mount.io, Io::Writeback);
    let sent = plan("lowerdir=/a,io=auto,timeout=1").expect("good");
    assert_eq!(sent.mount.io, Io::Cached);
}

#[test]
fn paths_need_not_be_utf8() {
    let mut options = Options::default();
    options
        .apply(OsStr::from_bytes(b"lowerdir=/\xff:/\\:"), false)
        .expect("good");
    assert_eq!(options.lowers[0].as_os_str().as_bytes(), b"/\xff");
    assert_eq!(options.lowers[1].as_os_str().as_bytes(), b"/:");
}

#[test]
fn without_an_upper_the_mount_is_read_only() {
    let plan = plan("lowerdir=/a");
    assert!(plan.mount.read_only && plan.config.upper.is_none());
}

#[test]
fn the_last_word_counts() {
    let plan = plan("nosuid,nodev,ro,suid,rw,lowerdir=/x,lowerdir=/a,upperdir=/u,workdir=/w");
    assert!(!plan.mount.nosuid && plan.mount.nodev && !plan.mount.read_only);
    assert_eq!(plan.config.lowers, [PathBuf::from("/a")]);
}

#[test]
fn upper_and_work_come_together() {
    let missing = |list| {
        parse(&[list])
            .and_then(Options::plan)
            .expect_err("one is missing")
    };
    assert_eq!(
        missing("lowerdir=/a,upperdir=/u"),
        OptionError::NoWork(PathBuf::from("/u"))
    );
    assert_eq!(
        missing("lowerdir=/a,workdir=/w"),
        OptionError::NoUpper(PathBuf::from("/w"))
    );
    assert_eq!(missing("ro"), OptionError::NoLower);
}

#[test]
fn what_would_change_meaning_is_refused() {
    for list in [
        "uidmapping=0:1000:1",
        "squash_to_root",
        "context=system_u",
        "userxattr",
        "fsync=0",
        "noxattrs=1",
        "nfs_export=on",
        "bind",
    ] {
        let error = parse(&[list]).expect_err(list);
        assert!(
            matches!(error, OptionError::Unsupported(..)),
            "{list}: {error}"
        );
    }
    assert_eq!(
        parse(&["lowerdir=/a,colour"]),
        Err(OptionError::Unknown("colour".to_owned()))
    );
    for list in [
        "lowerdir=/a::/b",
        "lowerdir=",
        "metacopy=maybe",
        "timeout=-1",
        "timeout=inf",
    ] {
        assert!(
            matches!(parse(&[list]), Err(OptionError::Value { .. })),
            "{list}"
        );
    }
    for list in ["threads=0", "threads=many", "ro=1", "redirect_dir"] {
        assert!(
            matches!(parse(&[list]), Err(OptionError::Value { .. })),
            "{list}"
        );
    }
    assert_eq!(
        parse(&["upperdir="]),
        Err(OptionError::NoValue("upperdir".to_owned()))
    );
}

#[test]
fn words_without_meaning_here_are_taken() {
    let list = "defaults,noauto,_netdev,x-systemd.automount,xino=auto,index=off,nfs_export=off,\
        default_permissions,max_idle_threads=3,fsync=1,,relatime";
    assert_eq!(parse(&[list]), Ok(Options::default()));
    let mut sloppy = Options::default();
    sloppy
        .apply(OsStr::new("colour,ro"), true)
        .expect("mount -s passes over unknown words");
    assert!(sloppy.read_only);
}

#[test]
fn tuning_acts() {
    let plan =
        plan("lowerdir=/a,timeout=1.5,threads=7,metacopy=off,redirect_dir=follow,allow_root");
    assert_eq!(plan.mount.timeout, Duration::from_millis(1500));
    assert_eq!(
        (plan.mount.threads, plan.config.metacopy),
        (7, Metacopy::Off)
    );
    assert!(plan.config.trust_redirect && !plan.mount.allow_other);
    let long = parse(&["lowerdir=/a,timeout=1e300,threaded=0"]).and_then(Options::plan);
    let long = long.expect("good");
    assert_eq!((long.mount.timeout, long.mount.threads), (FOREVER, 1));
}
