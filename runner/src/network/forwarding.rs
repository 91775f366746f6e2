//! IP forwarding: without it nothing gets from a bridge to another interface or back.
//!
//! It is a setting of the whole machine, so turning it on is told, and it is left on at the end:
//! others may have come to rely on it, and nobody could tell. Turned on for IPv6 the machine stops
//! to believe routers, which could cost it its own routes; then it is left off and IPv6 of
//! containers ends at the machine.

use super::NetworkError;
use super::link;
use super::netlink::Socket;
use std::fs;
use std::io;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// What a user should know about a setting that was changed.
pub(super) type Notice = String;

/// Turns IPv4 forwarding on if it is off.
pub(super) fn allow4() -> Result<Option<Notice>, NetworkError> {
    if is_on(IPV4)? {
        return Ok(None);
    }
    turn_on(IPV4)?;
    Ok(Some(notice("IP", "net.ipv4.ip_forward")))
}

/// Turns IPv6 forwarding on if it is off, unless the machine has a route from a router. Tells
/// whether it is on now.
pub(super) fn allow6() -> Result<(bool, Option<Notice>), NetworkError> {
    if is_on(IPV6)? {
        return Ok((true, None));
    }
    let routes = link::routes(&mut Socket::route()?);
    let (_, from_router) =
        routes.map_err(|source| NetworkError::kernel("list the routes", source))?;
    if from_router {
        return Ok((false, None));
    }
    turn_on(IPV6)?;
    Ok((true, Some(notice("IPv6", "net.ipv6.conf.all.forwarding"))))
}

/// Whether the machine speaks IPv6.
pub(super) fn has_ipv6() -> bool {
    fs::read_to_string(NO_IPV6).is_ok_and(|text| text.trim() == "0")
}

fn notice(kind: &str, setting: &str) -> Notice {
    format!(
        "NOTICE: {kind} forwarding is now on for this machine ({setting}=1): containers need it"
    )
}

fn is_on(path: &str) -> Result<bool, NetworkError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim() != "0"),
        // A kernel without that protocol has nothing to turn on.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(NetworkError::file("read", path)(error)),
    }
}

fn turn_on(path: &str) -> Result<(), NetworkError> {
    fs::write(path, "1").map_err(NetworkError::file("turn on", path))
}
