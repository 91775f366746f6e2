//! `runner system df -v`: the images, containers and volumes one by one.

use crate::cli::format::{Column, Format, ago, size as shown};
use crate::cli::ps;
use crate::container::home::Home;
use crate::container::volume::Volumes;
use crate::error::Result;
use crate::image::{Record, Store};
use crate::types::Moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const IMAGES: &[Column] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];

const VOLUMES: &[Column] = &[
    ("Name", "VOLUME NAME"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
];

/// The heads of a table's columns, by their fields.
fn fields(columns: &[Column]) -> Vec<&'static str> {
    columns.iter().map(|(field, _)| *field).collect()
}

/// All of it as text.
pub(super) fn text(home: &Home, root: &Path) -> Result<String> {
    let format = Format::parse(None)?;
    let images = images(home, &Store::open(root)?)?;
    let images = format.list(&images, IMAGES, &fields(IMAGES))?;
    let usual = [
        "ID",
        "Image",
        "Command",
        "LocalVolumes",
        "Size",
        "RunningFor",
        "Status",
        "Names",
    ];
    let containers = format.list(&ps::rows(home, root)?, ps::COLUMNS, &usual)?;
    let volumes = format.list(&volumes(home, root)?, VOLUMES, &fields(VOLUMES))?;
    Ok(format!(
        "Images space usage:\n\n{}\n\nContainers space usage:\n\n{}\n\nLocal Volumes space usage:\n\n{}\n",
        images.trim_end(),
        containers.trim_end(),
        volumes.trim_end()
    ))
}

fn images(home: &Home, store: &Store) -> Result<Vec<Value>> {
    let records = store.list()?;
    let mut users: BTreeMap<String, usize> = BTreeMap::new();
    for directory in home.all()? {
        // Gone meanwhile, or being made.
        let id = directory.spec().ok().and_then(|spec| spec.image_id);
        *users.entry(id.unwrap_or_default()).or_default() += 1;
    }
    let mut images_of: BTreeMap<&str, usize> = BTreeMap::new();
    for layer in records.iter().flat_map(|record| &record.layers) {
        *images_of.entry(layer).or_default() += 1;
    }
    let mut rows = Vec::new();
    for record in &records {
        let mut shared = 0;
        for layer in &record.layers {
            if images_of
                .get(layer.as_str())
                .is_some_and(|count| *count > 1)
            {
                shared += store.layer_size(layer)?;
            }
        }
        let count = users.get(&record.id).copied().unwrap_or(0);
        let tags = record.names.iter().filter(|name| name.digest().is_none());
        let mut names: Vec<(&str, &str)> = tags.map(|name| (name.name(), name.tag())).collect();
        if names.is_empty() {
            names.push(("<none>", "<none>"));
        }
        rows.extend(
            names
                .into_iter()
                .map(|name| row(record, name, shared, count)),
        );
    }
    Ok(rows)
}

fn row(record: &Record, (name, tag): (&str, &str), shared: u64, containers: usize) -> Value {
    json!({
        "Repository": name,
        "Tag": tag,
        "ID": record.short_id(),
        "CreatedSince": ago(Moment::from_seconds(record.created).age()),
        "Size": shown(record.size),
        "SharedSize": shown(shared),
        "UniqueSize": shown(record.size.saturating_sub(shared)),
        "Containers": containers.to_string(),
    })
}

fn volumes(home: &Home, root: &Path) -> Result<Vec<Value>> {
    let store = Volumes::at(root);
    let users = store.users(home)?;
    let all = store.all()?.into_iter();
    Ok(all
        .map(|name| {
            let links = users.get(&name).map_or(0, |users| users.len());
            json!({"Name": name, "Links": links.to_string(), "Size": shown(store.size(&name))})
        })
        .collect())
}
