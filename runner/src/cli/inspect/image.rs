//! One image as docker's JSON.

use crate::error::Result;
use crate::image::{Image, ImageError, Reference, Store, architecture};
use serde_json::{Value, json};

/// What is known of an image.
pub(super) fn describe(store: &Store, image: &Image) -> Result<Value> {
    let record = match &image.id {
        Some(id) => Some(store.find(id)?),
        None => None,
    };
    let config = &image.config;
    let names: Vec<Reference> = record.as_ref().map_or(Vec::new(), |r| r.names.clone());
    let (digests, mut tags): (Vec<String>, Vec<String>) = {
        let (digests, tags): (Vec<_>, Vec<_>) = names.iter().partition(|n| n.digest().is_some());
        let text = |names: Vec<&Reference>| names.iter().map(ToString::to_string).collect();
        (text(digests), text(tags))
    };
    if record.is_none() {
        tags.push(image.name.clone());
    }
    let architecture = match config.architecture.as_str() {
        "" => architecture(),
        other => other,
    };
    let wrong = |error: serde_json::Error| ImageError::Name {
        name: image.name.clone(),
        why: error.to_string(),
    };
    Ok(json!({
        "Id": image.id.as_ref().map(|id| format!("sha256:{id}")).unwrap_or_default(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": config.history.last().map_or("", |step| step.comment.as_str()),
        "Created": config.created,
        "Author": config.author,
        "Config": serde_json::to_value(&config.config).map_err(wrong)?,
        "Architecture": architecture,
        "Variant": config.variant,
        "Os": if config.os.is_empty() { "linux" } else { config.os.as_str() },
        "Size": record.as_ref().map_or(0, |record| record.size),
        "GraphDriver": {"Name": "layerfs", "Data": {"LowerDir": image.lowers()}},
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
    }))
}
