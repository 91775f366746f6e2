//! `runner network inspect`: all there is to know of networks, as docker's JSON.

use super::super::format::Format;
use super::super::{inspect, output};
use crate::error::Result;
use crate::network::{self, Network};
use crate::types::Moment;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Arguments of `network inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  runner network inspect bridge
  runner network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' web")]
pub(super) struct Args {
    /// Print as: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Names, ids, or unique beginnings of ids
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

pub(super) fn run(args: &Args, root: &Path) -> Result<u8> {
    let format = Format::parse(args.format.as_deref())?;
    let state = network::all(root)?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in &args.networks {
        match state.find(name) {
            Ok(network) => found.push(describe(network)),
            Err(error) => {
                output::complain(&error);
                code = super::super::OURS;
            }
        }
    }
    if !found.is_empty() {
        inspect::show(&format, found)?;
    }
    Ok(code)
}

fn describe(network: &Network) -> Value {
    let mut config = Map::new();
    config.insert("Subnet".to_owned(), json!(network.subnet.to_string()));
    config.insert("Gateway".to_owned(), json!(network.gateway.to_string()));
    if let Some(range) = network.range {
        config.insert("IPRange".to_owned(), json!(range.to_string()));
    }
    let mut configs = vec![Value::Object(config)];
    if let (Some(subnet), Some(gateway)) = (network.subnet6, network.gateway6) {
        configs.push(json!({"Subnet": subnet.to_string(), "Gateway": gateway.to_string()}));
    }
    let containers = network.endpoints.iter().map(|endpoint| {
        let address6 = endpoint.address6.zip(network.subnet6);
        let told = json!({
            "Name": endpoint.names.first(),
            "MacAddress": endpoint.mac.to_string(),
            "IPv4Address": format!("{}/{}", endpoint.address, network.subnet.prefix_len()),
            "IPv6Address": address6
                .map_or(String::new(), |(a, net)| format!("{a}/{}", net.prefix_len())),
        });
        (endpoint.container.clone(), told)
    });
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": Moment::from_seconds(network.created).to_string(),
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv6": network.subnet6.is_some(),
        "IPAM": {"Driver": "default", "Config": configs},
        "Internal": network.internal,
        "Containers": containers.collect::<Map<_, _>>(),
        "Options": {},
        "Labels": network.labels,
    })
}
