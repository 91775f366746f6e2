//! One container as docker's JSON.

use crate::cli::{port, size};
use crate::container::directory::Directory;
use crate::container::home::Home;
use crate::container::signals;
use crate::container::spec::{LogChoice, Seccomp, Spec};
use crate::container::state::{State, Status};
use crate::error::Result;
use crate::logs;
use crate::network as networks;
use crate::types::Moment;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is known of a container.
pub(super) fn describe(home: &Home, directory: &Directory, sizes: bool) -> Result<Value> {
    let (spec, state) = (directory.spec()?, directory.state()?);
    let name = home.name(directory.id())?;
    let args = spec.command.args();
    let file = |name: &str| directory.join(name).display().to_string();
    let logged = spec.log != LogChoice::None;
    let mut value = json!({
        "Id": spec.id.as_str(),
        "Created": spec.created.to_string(),
        "Path": args.first(),
        "Args": args.get(1..).unwrap_or_default(),
        "State": state_of(&state),
        "Image": match &spec.image_id {
            Some(id) => format!("sha256:{id}"),
            None => spec.image.clone(),
        },
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": if logged { file(logs::FILE) } else { String::new() },
        "Name": format!("/{name}"),
        "RestartCount": state.restarts,
        "Driver": "layerfs",
        "Platform": "linux",
        "HostConfig": host_config(&spec),
        "GraphDriver": {"Name": "layerfs", "Data": {
            "LowerDir": join(&spec),
            "UpperDir": file("upper"),
            "WorkDir": file("work"),
            "MergedDir": file("rootfs"),
        }},
        "Mounts": mounts(&spec),
        "Config": config(&spec),
        "NetworkSettings": network(&spec, &networks::State::read(home.root())?),
    });
    if let (true, Some(map)) = (sizes, value.as_object_mut()) {
        map.insert(
            "SizeRw".to_owned(),
            json!(size::used(&directory.join("upper"))),
        );
    }
    Ok(value)
}

fn state_of(state: &State) -> Value {
    let mut told = plain_state(state);
    if let (Some(health), Some(map)) = (&state.health, told.as_object_mut()) {
        let log = health.log.iter().map(|answer| {
            json!({
                "Start": answer.start.to_string(),
                "End": answer.end.to_string(),
                "ExitCode": answer.code,
                "Output": answer.output,
            })
        });
        let health = json!({
            "Status": health.status.to_string(),
            "FailingStreak": health.failing,
            "Log": log.collect::<Vec<_>>(),
        });
        map.insert("Health".to_owned(), health);
    }
    told
}

fn plain_state(state: &State) -> Value {
    let moment = |moment: Option<Moment>| match moment {
        Some(moment) => moment.to_string(),
        None => "0001-01-01T00:00:00Z".to_owned(),
    };
    json!({
        "Status": state.status.to_string(),
        "Running": state.status.is_alive() || state.status == Status::Restarting,
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.out_of_memory,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.code,
        "Error": state.error,
        "StartedAt": moment(state.started),
        "FinishedAt": moment(state.finished),
    })
}

fn join(spec: &Spec) -> String {
    let lowers: Vec<_> = spec
        .lowers
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    lowers.join(":")
}

fn config(spec: &Spec) -> Value {
    let command = &spec.command;
    let env: Vec<_> = command
        .env
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    json!({
        "Hostname": spec.hostname,
        "User": command.user,
        "AttachStdin": command.input_once,
        "Tty": command.terminal,
        "OpenStdin": command.input,
        "StdinOnce": command.input_once,
        "Env": env,
        "Cmd": command.cmd,
        "Image": spec.image,
        "WorkingDir": command.cwd,
        "Entrypoint": if command.entrypoint.is_empty() {
            Value::Null
        } else {
            json!(command.entrypoint)
        },
        "Labels": spec.labels,
        "Healthcheck": spec.health.as_ref().map(|check| json!({
            "Test": ["CMD-SHELL", check.command],
            "Interval": check.interval,
            "Timeout": check.timeout,
            "StartPeriod": check.start_period,
            "Retries": check.retries,
        })),
        "StopSignal": signals::name(spec.stop.signal),
        "StopTimeout": spec.stop.seconds,
    })
}

fn host_config(spec: &Spec) -> Value {
    let (limits, rights) = (&spec.limits, &spec.rights);
    let mut options = Vec::new();
    match &rights.seccomp {
        Seccomp::Default => {}
        Seccomp::Unconfined => options.push("seccomp=unconfined".to_owned()),
        Seccomp::File(path) => options.push(format!("seccomp={}", path.display())),
    }
    if !rights.no_new_privileges {
        options.push("no-new-privileges=false".to_owned());
    }
    let binds: Vec<_> = spec
        .volumes
        .iter()
        .map(|v| {
            let mode = if v.read_only { ":ro" } else { "" };
            let source = match &v.name {
                Some(name) => name.clone(),
                None => v.source.display().to_string(),
            };
            format!("{source}:{}{mode}", v.target.display())
        })
        .collect();
    let tmpfs: Map<String, Value> = spec
        .tmpfs
        .iter()
        .map(|t| {
            let options = t.options.iter().map(|(k, v)| format!("{k}={v}"));
            let options: Vec<_> = options.collect();
            (t.target.display().to_string(), json!(options.join(",")))
        })
        .collect();
    json!({
        "Binds": binds,
        "Tmpfs": tmpfs,
        "LogConfig": log(spec.log),
        "NetworkMode": network_name(spec),
        "RestartPolicy": {
            "Name": spec.restart.policy.to_string(),
            "MaximumRetryCount": spec.restart.retries,
        },
        "AutoRemove": spec.remove,
        "Devices": rights.devices.iter().map(|wish| json!({
            "PathOnHost": wish.host,
            "PathInContainer": wish.inside,
            "CgroupPermissions": wish.access,
        })).collect::<Vec<_>>(),
        "CapAdd": rights.add,
        "CapDrop": rights.drop,
        "Privileged": rights.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": options,
        "Init": spec.command.small_init,
        "Memory": limits.memory.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(0),
        "NanoCpus": (limits.cpus.unwrap_or(0.0) * 1e9).round() as u64,
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or(""),
        "PidsLimit": limits.pids_in_force(),
        "MemoryReservation": limits.tuning.memory_reservation.unwrap_or(0),
        "MemorySwappiness": limits.tuning.memory_swappiness,
        "OomKillDisable": limits.tuning.oom_kill_disable,
        "OomScoreAdj": limits.process.oom_score_adj.unwrap_or(0),
        "CpuShares": limits.tuning.cpu_shares.unwrap_or(0),
        "CpuPeriod": limits.tuning.cpu_period.unwrap_or(0),
        "CpuQuota": limits.tuning.cpu_quota.unwrap_or(0),
        "CpusetMems": limits.tuning.cpuset_mems.as_deref().unwrap_or(""),
        "BlkioWeight": limits.tuning.blkio_weight.unwrap_or(0),
        "ShmSize": limits.shm.unwrap_or(64 << 20),
        "GroupAdd": spec.command.groups,
        "Ulimits": limits.process.rlimits.iter().map(|limit| {
            let number = |n: u64| i64::try_from(n).unwrap_or(-1);
            json!({"Name": limit.name, "Soft": number(limit.soft), "Hard": number(limit.hard)})
        }).collect::<Vec<_>>(),
        "Sysctls": limits.process.sysctls.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

fn log(choice: LogChoice) -> Value {
    match choice {
        LogChoice::None => json!({"Type": "none", "Config": {}}),
        LogChoice::JsonFile(limits) => json!({"Type": "json-file", "Config": {
            "max-size": limits.size.to_string(),
            "max-file": limits.files.to_string(),
        }}),
    }
}

fn mounts(spec: &Spec) -> Value {
    let volumes = spec.volumes.iter().map(|v| {
        let Some(name) = &v.name else {
            return json!({
                "Type": "bind",
                "Source": v.source,
                "Destination": v.target,
                "Mode": if v.read_only { "ro" } else { "" },
                "RW": !v.read_only,
                "Propagation": if v.slave { "rslave" } else { "rprivate" },
            });
        };
        json!({
            "Type": "volume",
            "Name": name,
            "Driver": "local",
            "Source": v.source,
            "Destination": v.target,
            "Mode": if v.read_only { "ro" } else { "" },
            "RW": !v.read_only,
            "Propagation": "",
        })
    });
    let tmpfs = spec.tmpfs.iter().map(|t| {
        json!({
            "Type": "tmpfs",
            "Source": "",
            "Destination": t.target,
            "Mode": "",
            "RW": !t.read_only,
            "Propagation": "",
        })
    });
    volumes.chain(tmpfs).collect()
}

fn network_name(spec: &Spec) -> String {
    spec.network.name()
}

/// Addresses and ports; those of the first network once more at the top, as docker has them.
fn network(spec: &Spec, state: &networks::State) -> Value {
    let mut joined = Map::new();
    for (network, endpoint) in state.of(spec.id.as_str()) {
        let prefix6 = network.subnet6.map_or(0, |subnet| subnet.prefix_len());
        joined.insert(
            network.name.clone(),
            json!({
                "NetworkID": network.id,
                "Aliases": endpoint.names,
                "Gateway": network.gateway.to_string(),
                "IPAddress": endpoint.address.to_string(),
                "IPPrefixLen": network.subnet.prefix_len(),
                "IPv6Gateway": network.gateway6.map_or(String::new(), |a| a.to_string()),
                "GlobalIPv6Address": endpoint.address6.map_or(String::new(), |a| a.to_string()),
                "GlobalIPv6PrefixLen": prefix6,
                "MacAddress": endpoint.mac.to_string(),
            }),
        );
    }
    let mut settings = Map::new();
    for field in [
        "Gateway",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "MacAddress",
    ] {
        let first = state.of(spec.id.as_str()).next();
        let first = first.and_then(|(network, _)| joined.get(&network.name)?.get(field));
        let nothing = if field.ends_with("Len") {
            json!(0)
        } else {
            json!("")
        };
        settings.insert(field.to_owned(), first.cloned().unwrap_or(nothing));
    }
    if joined.is_empty() {
        joined.insert(network_name(spec), json!({}));
    }
    settings.insert("Ports".to_owned(), ports(spec, state));
    settings.insert("Networks".to_owned(), Value::Object(joined));
    Value::Object(settings)
}

fn ports(spec: &Spec, state: &networks::State) -> Value {
    let mut ports = Map::new();
    for exposed in &spec.network.expose {
        for port in exposed.ports.ports() {
            ports.insert(format!("{port}/{}", exposed.protocol), Value::Null);
        }
    }
    for ((port, protocol), sockets) in port::sockets(state, spec.id.as_str()) {
        let sockets = sockets.iter().map(|socket| {
            json!({"HostIp": socket.ip().to_string(), "HostPort": socket.port().to_string()})
        });
        ports.insert(format!("{port}/{protocol}"), sockets.collect());
    }
    Value::Object(ports)
}
