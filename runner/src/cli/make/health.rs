//! The flags of health checks.

use super::Args;
use crate::container::health::HealthCheck;
use crate::error::{Error, Result};
use crate::image::{Config, Healthcheck};
use crate::types::parse_duration;
use std::time::Duration;

/// The check, if there is to be one.
pub(super) fn check(args: &Args, image: &Config) -> Result<Option<HealthCheck>> {
    let bad = |flag, value: &str, why: &str| Error::Value {
        flag,
        value: value.to_owned(),
        why: why.to_owned(),
    };
    let given = args.health_cmd.as_deref().filter(|line| !line.is_empty());
    if args.no_healthcheck {
        let why = "goes not with --no-healthcheck";
        return match given {
            Some(line) => Err(bad("--health-cmd", line, why)),
            None => Ok(None),
        };
    }
    let of_image = image.healthcheck.clone().unwrap_or_default();
    let command = match given {
        Some(line) => Some(shell(line)),
        None => of_image_command(&of_image, image)?,
    };
    let Some(command) = command else {
        let alone = [
            ("--health-interval", &args.health_interval),
            ("--health-timeout", &args.health_timeout),
            ("--health-start-period", &args.health_start_period),
        ];
        let mut alone = alone
            .iter()
            .filter_map(|(flag, text)| Some((flag, text.as_ref()?)));
        return match alone.next() {
            Some((flag, text)) => Err(bad(flag, text, "wants --health-cmd beside it")),
            None => Ok(None),
        };
    };
    let length = |flag, text: &Option<String>, image: u64, usual: Duration, least: Duration| {
        let Some(text) = text else {
            return Ok(if image == 0 { nanos(usual) } else { image });
        };
        let length = parse_duration(text).filter(|length| *length >= least);
        let why = "want a length of time of at least 1ms, as 30s or 1m30s";
        length.map(nanos).ok_or_else(|| bad(flag, text, why))
    };
    let (usual, least, zero) = (
        Duration::from_secs(30),
        Duration::from_millis(1),
        Duration::ZERO,
    );
    let (interval, timeout) = (&args.health_interval, &args.health_timeout);
    let period = &args.health_start_period;
    Ok(Some(HealthCheck {
        command,
        interval: length(
            "--health-interval",
            interval,
            of_image.interval,
            usual,
            least,
        )?,
        timeout: length("--health-timeout", timeout, of_image.timeout, usual, least)?,
        retries: match (args.health_retries, of_image.retries) {
            (Some(0), _) => {
                return Err(bad("--health-retries", "0", "want a number of at least 1"));
            }
            (Some(number), _) => number,
            (None, 0) => 3,
            (None, number) => number,
        },
        start_period: length(
            "--health-start-period",
            period,
            of_image.start_period,
            zero,
            zero,
        )?,
    }))
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

fn shell(line: &str) -> Vec<String> {
    ["/bin/sh", "-c", line].map(str::to_owned).to_vec()
}

/// The command of an image's own check.
fn of_image_command(check: &Healthcheck, image: &Config) -> Result<Option<Vec<String>>> {
    let mut words = check.test.iter();
    match (words.next().map(String::as_str), words.as_slice()) {
        (None | Some("NONE" | ""), _) => Ok(None),
        (Some("CMD"), words) if !words.is_empty() => Ok(Some(words.to_vec())),
        (Some("CMD-SHELL"), [line]) if image.shell.is_empty() => Ok(Some(shell(line))),
        (Some("CMD-SHELL"), [line]) => Ok(Some([image.shell.as_slice(), std::slice::from_ref(line)].concat())),
        _ => Err(Error::Value {
            flag: "the image's health check",
            value: check.test.join(" "),
            why: "want NONE, CMD and a command, or CMD-SHELL and a line; --no-healthcheck goes without"
                .to_owned(),
        }),
    }
}
