//! Labels of a container: the image's, files', flags'; the later wins.

use super::flags::Args;
use crate::error::{Error, Result};
use crate::image::Config;
use std::collections::BTreeMap;

/// All of them.
pub(super) fn labels(args: &Args, image: &Config) -> Result<BTreeMap<String, String>> {
    let mut labels = image.labels.clone();
    for path in &args.label_file {
        let text = std::fs::read_to_string(path).map_err(Error::io("read the label file", path))?;
        let lines = text.lines().map(str::trim_start);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            take(&mut labels, "--label-file", line)?;
        }
    }
    for text in &args.label {
        take(&mut labels, "--label", text)?;
    }
    Ok(labels)
}

/// Labels of something else than a container.
pub(in crate::cli) fn plain(texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for text in texts {
        take(&mut labels, "--label", text)?;
    }
    Ok(labels)
}

fn take(labels: &mut BTreeMap<String, String>, flag: &'static str, text: &str) -> Result<()> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(Error::Value {
            flag,
            value: text.to_owned(),
            why: "want KEY or KEY=VALUE, the key without white space".to_owned(),
        });
    }
    labels.insert(key.to_owned(), value.to_owned());
    Ok(())
}
