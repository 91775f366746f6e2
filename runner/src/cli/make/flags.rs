//! The flags of `runner run` as text, nothing checked yet.

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "runner run [FLAGS] IMAGE [COMMAND [ARG]...]",
    after_help = "IMAGE is `host` (this machine's own files), `dir:PATH`, or a name made by `runner import`.
Flags go before IMAGE; everything after it is the command's. The exit code is the command's; 125 if
the container could not be made, 126 if the command cannot be executed, 127 if it is not there.
The classic spelling with one dash (-rm, -name x) is understood, too.

Examples:
  runner run --rm host sh -c 'rm -rf /usr/share/doc; ls /usr/share/doc | wc -l'
  runner run -it --rm -v ./src:/src:ro -w /src debian bash
  runner run --rm -m 64m --memory-swap 64m --cpus 0.5 debian python3 job.py
  runner run --rm -u nobody --read-only --tmpfs /tmp --cap-drop ALL debian id
  echo hello | runner run -i --rm debian tr a-z A-Z"
)]
pub(crate) struct Args {
    /// Keep standard input open and pass it on
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Remove the container when it has ended
    #[arg(long)]
    pub(super) rm: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Set an environment variable; without =VALUE, pass the caller's on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<String>,
    /// Directory to start in; made if missing
    #[arg(short, long, value_name = "DIR")]
    pub(super) workdir: Option<String>,
    /// Name or number of the user, and of the group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Command that the image's or the given arguments are passed to; empty to have none
    #[arg(long, value_name = "COMMAND")]
    pub(super) entrypoint: Option<String>,
    /// Run a small init as pid 1 that passes signals on and reaps processes
    #[arg(long)]
    pub(super) init: bool,
    /// Show a host path in the container (options: ro, rw, rslave, nosuid, nodev, noexec)
    #[arg(short, long, value_name = "HOST:CONTAINER[:OPTIONS]")]
    pub(super) volume: Vec<String>,
    /// Mount a temporary file system (options: size=, mode=, uid=, gid=, exec, suid, dev, ro)
    #[arg(long, value_name = "CONTAINER[:OPTIONS]")]
    pub(super) tmpfs: Vec<String>,
    /// Make the container's root file system read-only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Network of the container: none or host
    #[arg(long, alias = "net", value_name = "MODE", default_value = "none")]
    pub(super) network: String,
    /// Host name; the short id if not given
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// Name server to use instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns: Vec<String>,
    /// Domain to search instead of the host's
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// Line for /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(super) add_host: Vec<String>,
    /// Memory limit, as 64m or 2g; at least 6m
    #[arg(short, long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Limit on memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(super) memory_swap: Option<String>,
    /// Processors' worth of time, as 1.5
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(super) cpus: Option<String>,
    /// Processors to run on, as 0-2,4
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub(super) cpuset_cpus: Option<String>,
    /// Limit of processes and threads (2048 if not given); -1 for none
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(super) pids_limit: Option<String>,
    /// Add a capability, as NET_ADMIN, or ALL
    #[arg(long, value_name = "CAP")]
    pub(super) cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub(super) cap_drop: Vec<String>,
    /// All capabilities and devices, no system call filter, nothing hidden
    #[arg(long)]
    pub(super) privileged: bool,
    /// seccomp=FILE, seccomp=unconfined, no-new-privileges[=false]
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<String>,
    /// Print this help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// What the container is made of
    pub(super) image: String,
    /// Command and arguments
    #[arg(value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}
