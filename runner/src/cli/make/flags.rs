//! The flags that `run` and `create` share, as text, nothing checked yet.

/// What `run` and `create` are told of the container.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(in crate::cli) struct Args {
    /// Keep standard input open and pass it on
    #[arg(short, long)]
    pub(in crate::cli) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(in crate::cli) tty: bool,
    /// Remove the container, and its anonymous volumes, when it has ended
    #[arg(long)]
    pub(in crate::cli) rm: bool,
    /// Attach to stdin, stdout or stderr only
    #[arg(short, long, value_name = "STREAM")]
    pub(in crate::cli) attach: Vec<String>,
    /// Fetch the image from its registry: missing (if it is not there), always, never
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(in crate::cli) pull: String,
    /// Write the container's id to this new file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) cidfile: Option<String>,
    /// Start it again when it has ended: no, on-failure[:NUMBER], always, unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no")]
    pub(in crate::cli) restart: String,
    /// Command that tells by its exit code whether the container is well
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) health_cmd: Option<String>,
    /// From one health check to the next (30s)
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) health_interval: Option<String>,
    /// How long a health check may take (30s)
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy (3)
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) health_retries: Option<u32>,
    /// Failures do not count for so long after the start
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) health_start_period: Option<String>,
    /// No health check, whatever the image says
    #[arg(long)]
    pub(in crate::cli) no_healthcheck: bool,
    /// Signal that asks the container to end
    #[arg(long, value_name = "SIGNAL")]
    pub(in crate::cli) stop_signal: Option<String>,
    /// Seconds between asking and killing; -1 to wait for ever
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(in crate::cli) stop_timeout: Option<i64>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(in crate::cli) label: Vec<String>,
    /// Read labels from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) label_file: Vec<String>,
    /// Where to keep what the container says: json-file or none
    #[arg(long, value_name = "DRIVER", default_value = "json-file")]
    pub(in crate::cli) log_driver: String,
    /// max-size=SIZE (of a file; 20m) and max-file=NUMBER (5) for json-file
    #[arg(long, value_name = "NAME=VALUE")]
    pub(in crate::cli) log_opt: Vec<String>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    /// Set an environment variable; without =VALUE, pass the caller's on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(in crate::cli) env: Vec<String>,
    /// Read environment variables from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) env_file: Vec<String>,
    /// Directory to start in; made if missing
    #[arg(short, long, value_name = "DIR")]
    pub(in crate::cli) workdir: Option<String>,
    /// Name or number of the user, and of the group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(in crate::cli) user: Option<String>,
    /// Command that the image's or the given arguments are passed to; empty to have none
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) entrypoint: Option<String>,
    /// Run a small init as pid 1 that passes signals on and reaps processes
    #[arg(long)]
    pub(in crate::cli) init: bool,
    /// Show a host path or a volume in the container (options: ro, rw, nocopy, rslave, nosuid,
    /// nodev, noexec)
    #[arg(short, long, value_name = "[HOST:|NAME:]CONTAINER[:OPTIONS]")]
    pub(in crate::cli) volume: Vec<String>,
    /// The same in other words: type=bind|volume|tmpfs,source=,target=,readonly,...
    #[arg(long, value_name = "FIELD=VALUE,...")]
    pub(in crate::cli) mount: Vec<String>,
    /// Show what another container has mounted, at the same places
    #[arg(long, value_name = "CONTAINER[:ro]")]
    pub(in crate::cli) volumes_from: Vec<String>,
    /// Mount a temporary file system (options: size=, mode=, uid=, gid=, exec, suid, dev, ro)
    #[arg(long, value_name = "CONTAINER[:OPTIONS]")]
    pub(in crate::cli) tmpfs: Vec<String>,
    /// Make the container's root file system read-only
    #[arg(long)]
    pub(in crate::cli) read_only: bool,
    /// Network: bridge, none, host, container:NAME, a network's name, or several networks, each
    /// also as name=NAME[,alias=NAME][,ip=ADDRESS][,ip6=ADDRESS][,mac-address=ADDRESS]
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub(in crate::cli) network: Vec<String>,
    /// Address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) ip6: Option<std::net::Ipv6Addr>,
    /// Ethernet address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) mac_address: Option<String>,
    /// One more name on the (first) network
    #[arg(long, value_name = "NAME", alias = "net-alias")]
    pub(in crate::cli) network_alias: Vec<String>,
    /// Let a port of this machine lead to one of the container's: [ADDRESS:][PORT:]PORT[/udp]
    #[arg(short, long, value_name = "PORTS")]
    pub(in crate::cli) publish: Vec<String>,
    /// Give every exposed port a free one of this machine
    #[arg(short = 'P', long)]
    pub(in crate::cli) publish_all: bool,
    /// A port, or range, that the container serves
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub(in crate::cli) expose: Vec<String>,
    /// Host name; the short id if not given
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(in crate::cli) hostname: Option<String>,
    /// Name server to use instead of the host's
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) dns: Vec<String>,
    /// Domain to search instead of the host's
    #[arg(long, value_name = "DOMAIN")]
    pub(in crate::cli) dns_search: Vec<String>,
    /// Option of the resolver instead of the host's, as ndots:2
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub(in crate::cli) dns_option: Vec<String>,
    /// Line for /etc/hosts; the address host-gateway is this machine
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(in crate::cli) add_host: Vec<String>,
    /// Memory limit, as 64m or 2g; at least 6m
    #[arg(short, long, value_name = "SIZE")]
    pub(in crate::cli) memory: Option<String>,
    /// Limit on memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(in crate::cli) memory_swap: Option<String>,
    /// Processors' worth of time, as 1.5
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(in crate::cli) cpus: Option<String>,
    /// Processors to run on, as 0-2,4
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    pub(in crate::cli) cpuset_cpus: Option<String>,
    /// Limit of processes and threads (2048 if not given); -1 for none
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(in crate::cli) pids_limit: Option<String>,
    /// Memory left to it when the machine is short of it
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) memory_reservation: Option<String>,
    /// How readily its memory is swapped out, 0 to 100; -1 as the machine's
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(in crate::cli) memory_swappiness: Option<i64>,
    /// Let it wait where the OOM killer would strike
    #[arg(long)]
    pub(in crate::cli) oom_kill_disable: bool,
    /// Place in the OOM killer's order, -1000 (last) to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(in crate::cli) oom_score_adj: Option<i32>,
    /// Weight of its processor time (1024 if not given)
    #[arg(short, long, value_name = "NUMBER")]
    pub(in crate::cli) cpu_shares: Option<u64>,
    /// Length of a period of processor time, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(in crate::cli) cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(in crate::cli) cpu_quota: Option<u64>,
    /// Memory nodes to use, as 0-1
    #[arg(long, value_name = "LIST")]
    pub(in crate::cli) cpuset_mems: Option<String>,
    /// Weight of its disk traffic, 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) blkio_weight: Option<u64>,
    /// Bytes a second that are read from a disk
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(in crate::cli) device_read_bps: Vec<String>,
    /// Bytes a second that are written to a disk
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(in crate::cli) device_write_bps: Vec<String>,
    /// Reads a second from a disk
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(in crate::cli) device_read_iops: Vec<String>,
    /// Writes a second to a disk
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(in crate::cli) device_write_iops: Vec<String>,
    /// Size of /dev/shm (64m if not given)
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) shm_size: Option<String>,
    /// Resource limit of its processes, as nofile=1024:2048
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(in crate::cli) ulimit: Vec<String>,
    /// Setting of the kernel for its namespaces, as net.ipv4.ip_forward=1
    #[arg(long, value_name = "NAME=VALUE")]
    pub(in crate::cli) sysctl: Vec<String>,
    /// One more group of the user's
    #[arg(long, value_name = "GROUP")]
    pub(in crate::cli) group_add: Vec<String>,
    /// Add a capability, as NET_ADMIN, or ALL
    #[arg(long, value_name = "CAP")]
    pub(in crate::cli) cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub(in crate::cli) cap_drop: Vec<String>,
    /// Give it a device of this machine, or all of a directory
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]")]
    pub(in crate::cli) device: Vec<String>,
    /// All capabilities and devices, no system call filter, nothing hidden
    #[arg(long)]
    pub(in crate::cli) privileged: bool,
    /// seccomp=FILE, seccomp=unconfined, no-new-privileges[=false]
    #[arg(long, value_name = "OPTION")]
    pub(in crate::cli) security_opt: Vec<String>,
    /// Print this help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// What the container is made of
    pub(in crate::cli) image: String,
    /// Command and arguments
    #[arg(value_name = "COMMAND")]
    pub(in crate::cli) command: Vec<String>,
}
