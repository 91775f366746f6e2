//! `runner top`: the processes of a container, as the machine's ps(1) shows them.

use super::output;
use crate::cgroup::Cgroup;
use crate::container::home::Settled;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Arguments of `top`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Numbers and names of processes and users are the machine's.

Examples:
  runner top web
  runner top web -o pid,rss,args"
)]
pub(super) struct Args {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Options of ps(1); -ef if not given. A column PID must be among what it prints
    #[arg(
        value_name = "PS OPTION",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    options: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let home = output::open_home(root)?;
    let directory = home.find(&args.container)?;
    if matches!(home.settle(&directory)?, Settled::Free(_)) {
        return Err(Error::NotRunning(args.container.clone()));
    }
    let cgroup = Cgroup::open(directory.id().as_str())?;
    let members: BTreeSet<i32> = cgroup
        .map(|c| c.members())
        .unwrap_or_default()
        .into_iter()
        .collect();
    let usual = ["-ef".to_owned()];
    let options = if args.options.is_empty() {
        &usual[..]
    } else {
        &args.options
    };
    let listed = Command::new("ps").args(options).output();
    let listed = listed.map_err(Error::io("execute", "ps"))?;
    if !listed.status.success() {
        let why = String::from_utf8_lossy(&listed.stderr);
        let why = why.lines().find(|line| !line.trim().is_empty());
        let why = why.unwrap_or("it failed").trim_start_matches("error: ");
        return Err(Error::Refused(format!("ps {}: {why}", options.join(" "))));
    }
    output::print(&only(&String::from_utf8_lossy(&listed.stdout), &members)?)
}

/// The head, and the lines of these processes.
fn only(text: &str, members: &BTreeSet<i32>) -> Result<String> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| {
        Error::Refused("ps prints no column PID with these options: add pid to them".to_owned())
    })?;
    let mut kept = format!("{head}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column);
        if pid
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| members.contains(&pid))
        {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_column() {
        let text = "UID  PID  PPID CMD\nroot   1     0 init\nroot  12     1 sh -c 7\n 7  7  1 x\n";
        let members = BTreeSet::from([12, 7]);
        let kept = only(text, &members).unwrap();
        assert_eq!(
            kept,
            "UID  PID  PPID CMD\nroot  12     1 sh -c 7\n 7  7  1 x\n"
        );
        assert!(only("USER CMD\nroot x\n", &members).is_err());
    }
}
