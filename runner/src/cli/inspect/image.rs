//! One image as docker's JSON.

use crate::image::Image;
use serde_json::{Value, json};

/// What is known of an image.
pub(super) fn describe(image: &Image) -> Value {
    let config = &image.config;
    json!({
        "Id": image.id.as_ref().map(|id| format!("sha256:{id}")).unwrap_or_default(),
        "RepoTags": [image.name],
        "Os": "linux",
        "Architecture": std::env::consts::ARCH,
        "GraphDriver": {"Name": "layerfs", "Data": {"LowerDir": image.lowers()}},
        "Config": {
            "Env": config.env,
            "Entrypoint": config.entrypoint,
            "Cmd": config.cmd,
            "User": config.user,
            "WorkingDir": config.working_dir,
            "Labels": config.labels,
        },
    })
}
