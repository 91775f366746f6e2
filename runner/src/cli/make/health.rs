//! The flags of health checks.

use super::Args;
use crate::container::health::HealthCheck;
use crate::error::{Error, Result};
use crate::types::parse_duration;
use std::time::Duration;

/// The check, if there is to be one.
pub(super) fn check(args: &Args) -> Result<Option<HealthCheck>> {
    let bad = |flag, value: &str, why: &str| Error::Value {
        flag,
        value: value.to_owned(),
        why: why.to_owned(),
    };
    let given = [
        ("--health-interval", &args.health_interval),
        ("--health-timeout", &args.health_timeout),
        ("--health-start-period", &args.health_start_period),
    ];
    let alone = given
        .iter()
        .find_map(|(flag, text)| Some((*flag, text.as_ref()?)));
    let Some(command) = args
        .health_cmd
        .clone()
        .filter(|command| !command.is_empty())
    else {
        // No image says one yet.
        return match alone {
            Some((flag, text)) => Err(bad(flag, text, "wants --health-cmd beside it")),
            None => Ok(None),
        };
    };
    if args.no_healthcheck {
        let why = "goes not with --no-healthcheck";
        return Err(bad("--health-cmd", &command, why));
    }
    let length = |flag, text: &Option<String>, usual: Duration, least: Duration| {
        let Some(text) = text else { return Ok(usual) };
        let length = parse_duration(text).filter(|length| *length >= least);
        length.ok_or_else(|| {
            bad(
                flag,
                text,
                "want a length of time of at least 1ms, as 30s or 1m30s",
            )
        })
    };
    let (usual, least) = (Duration::from_secs(30), Duration::from_millis(1));
    let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    Ok(Some(HealthCheck {
        command,
        interval: nanos(length(
            "--health-interval",
            &args.health_interval,
            usual,
            least,
        )?),
        timeout: nanos(length(
            "--health-timeout",
            &args.health_timeout,
            usual,
            least,
        )?),
        retries: match args.health_retries {
            Some(0) => return Err(bad("--health-retries", "0", "want a number of at least 1")),
            Some(number) => number,
            None => 3,
        },
        start_period: nanos(length(
            "--health-start-period",
            &args.health_start_period,
            Duration::ZERO,
            Duration::ZERO,
        )?),
    }))
}
