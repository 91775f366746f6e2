//! The flags that are about the network.

use super::Args;
use crate::container::home::Home;
use crate::error::{Error, Result};
use crate::image::Config;
use crate::network::{
    Join, Mac, NameServers, Settings, Source, check_alias, parse_dns, parse_dns_option,
    parse_dns_search,
};

/// The validated network settings; `warn` is told of flags that the chosen network makes useless.
pub(super) fn settings(
    args: &Args,
    image: &Config,
    home: &Home,
    warn: &mut dyn FnMut(&str),
) -> Result<Settings> {
    let mut source = Source::parse(&args.network)?;
    match &mut source {
        Source::Networks(joins) => {
            if let Some(first) = joins.first_mut() {
                complete(first, args)?;
            }
        }
        other => {
            refuse_addresses(args, other)?;
            if let Source::Container(name) = other {
                home.find(name)?.id().as_str().clone_into(name);
            } else if args.publish_all || !args.publish.is_empty() {
                warn("WARNING: published ports are discarded: this network has none of its own");
            }
        }
    }
    let servers = args.dns.iter().map(|text| parse_dns(text));
    let search = args.dns_search.iter().map(|text| parse_dns_search(text));
    let options = args.dns_option.iter().map(|text| parse_dns_option(text));
    let hosts = args.add_host.iter().map(|text| text.parse());
    let publish = args.publish.iter().map(|text| text.parse());
    let expose = image.exposed_ports.keys().chain(&args.expose);
    let expose = expose.map(|text| text.parse());
    Ok(Settings {
        source,
        hosts: hosts.collect::<Result<_, _>>()?,
        name_servers: NameServers {
            servers: servers.collect::<Result<_, _>>()?,
            search: search.collect::<Result<_, _>>()?,
            options: options.collect::<Result<_, _>>()?,
        },
        publish: publish.collect::<Result<_, _>>()?,
        publish_all: args.publish_all,
        expose: expose.collect::<Result<_, _>>()?,
    })
}

/// The flags of an only network are the first one's, where it does not tell by itself.
fn complete(join: &mut Join, args: &Args) -> Result<()> {
    let twice = [
        ("--ip", args.ip.is_some() && join.address.is_some()),
        ("--ip6", args.ip6.is_some() && join.address6.is_some()),
        (
            "--mac-address",
            args.mac_address.is_some() && join.mac.is_some(),
        ),
        (
            "--network-alias",
            !args.network_alias.is_empty() && !join.aliases.is_empty(),
        ),
    ];
    if let Some((flag, _)) = twice.iter().find(|(_, twice)| *twice) {
        let network = &join.network;
        return Err(Error::Usage(format!(
            "{flag} is given twice: also in --network name={network},…"
        )));
    }
    join.address = join.address.or(args.ip);
    join.address6 = join.address6.or(args.ip6);
    let given = args.mac_address.as_deref().map(mac).transpose()?;
    join.mac = join.mac.or(given);
    for name in &args.network_alias {
        join.aliases.push(alias("--network-alias", name)?);
    }
    Ok(())
}

/// One more name of a container on a network.
pub(in crate::cli) fn alias(flag: &'static str, text: &str) -> Result<String> {
    check_alias(text).map_err(|why| Error::Value {
        flag,
        value: text.to_owned(),
        why: why.to_owned(),
    })
}

fn mac(text: &str) -> Result<Mac> {
    text.parse().map_err(|why: &str| Error::Value {
        flag: "--mac-address",
        value: text.to_owned(),
        why: why.to_owned(),
    })
}

/// Flags that make no sense without a network of the container's own.
fn refuse_addresses(args: &Args, source: &Source) -> Result<()> {
    let shared = matches!(source, Source::Container(_));
    let given = [
        ("--ip", args.ip.is_some()),
        ("--ip6", args.ip6.is_some()),
        ("--mac-address", args.mac_address.is_some()),
        ("--network-alias", !args.network_alias.is_empty()),
        ("--hostname", shared && args.hostname.is_some()),
        ("--dns", shared && !args.dns.is_empty()),
        ("--add-host", shared && !args.add_host.is_empty()),
        ("-p", shared && !args.publish.is_empty()),
        ("-P", shared && args.publish_all),
        ("--expose", shared && !args.expose.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "{flag} does not go with --network {}",
            args.network.join(" ")
        ))),
        None => Ok(()),
    }
}
