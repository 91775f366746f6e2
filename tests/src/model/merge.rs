//! The union itself: layers become one graph, the lowest first, each on top of what is there.
//!
//! R1: a name is of the topmost layer that has it; directories merge, down to an opaque one or to what
//! is no directory. R2: a whiteout takes a name away. A merged directory has the attributes of its
//! topmost part, the root those of the upper's (an empty one here).

use std::path::{Path, PathBuf};

use super::below::{Below, Kind};
use super::graph::{Body, Graph, NOW, Object};
use crate::layers::{Item, Layer, What, usual_time};

pub(super) fn union(layers: &[Layer]) -> Graph {
    let mut graph = Graph::new();
    for layer in layers.iter().rev() {
        for item in layer.items() {
            put(&mut graph, item);
        }
        // Names give directories the time of now; layers have times of their own.
        settle_times(&mut graph, layer);
    }
    graph.object(0).mtime = NOW;
    graph
}

fn put(graph: &mut Graph, item: &Item) {
    let parent = item.path.parent().expect("no layer gives its root");
    let directory = parent
        .iter()
        .fold(graph.root(), |above, name| directory(graph, above, name));
    let name = item.path.file_name().expect("a path ends in a name");
    let at = (directory, name);
    let body = match &item.what {
        What::Whiteout => {
            graph.leave(at);
            return;
        }
        What::Link(first) => {
            let node = find(graph, first);
            graph.leave(at);
            graph.enter(at, node);
            return;
        }
        What::Directory { opaque: false } => {
            let node = self::directory(graph, directory, name);
            dress(graph.object(node), item);
            return;
        }
        What::Directory { opaque: true } => Body::Directory(Default::default()),
        What::File(content) => Body::File(content.clone()),
        What::Symlink(target) => Body::Symlink(target.clone()),
        What::Node(kind, device) => Body::Special(match kind {
            rustix::fs::FileType::Fifo => Kind::Fifo,
            rustix::fs::FileType::Socket => Kind::Socket,
            rustix::fs::FileType::CharacterDevice => Kind::Device(*device),
            other => unreachable!("no random layer has a {other:?}"),
        }),
    };
    graph.leave(at);
    let node = graph.add(Object::new(body, 0));
    graph.enter(at, node);
    dress(graph.object(node), item);
}

/// The directory of that name; whatever else is there is hidden by it.
fn directory(graph: &mut Graph, above: usize, name: &std::ffi::OsStr) -> usize {
    let at = (above, name);
    if let Ok(node) = graph.lookup(at) {
        if matches!(graph.object(node).body, Body::Directory(_)) {
            return node;
        }
        graph.leave(at);
    }
    let node = graph.add(Object::new(Body::Directory(Default::default()), 0o755));
    graph.enter(at, node);
    node
}

fn dress(object: &mut Object, item: &Item) {
    let usual = match object.body {
        Body::Directory(_) => 0o755,
        Body::Symlink(_) => 0o777,
        Body::File(_) | Body::Special(_) => 0o644,
    };
    object.mode = match object.body {
        Body::Symlink(_) => usual,
        _ => item.mode.unwrap_or(usual),
    };
    (object.uid, object.gid) = item.owner;
    object.xattrs = item.xattrs.iter().cloned().collect();
}

/// As the writer of layers gives them: by path, and of several paths of one object the first wins, the
/// shorter before the longer.
fn settle_times(graph: &mut Graph, layer: &Layer) {
    let mut paths: Vec<(&Path, Option<(i64, i64)>)> = Vec::new();
    for item in layer.items() {
        if !matches!(item.what, What::Whiteout) {
            paths.push((&item.path, item.time));
        }
        let parents = item.path.ancestors().skip(1);
        paths.extend(parents.map(|parent| (parent, None)));
    }
    paths.sort_by_key(|(path, time)| (path.iter().count(), PathBuf::from(path), time.is_none()));
    paths.dedup_by_key(|(path, _)| *path);
    for (path, time) in paths.into_iter().rev() {
        let node = find(graph, path);
        graph.object(node).mtime = time.unwrap_or_else(|| usual_time(path));
    }
}

/// The object of a path of the layer just put.
fn find(graph: &mut Graph, path: &Path) -> usize {
    path.iter().fold(graph.root(), |directory, name| {
        let found = graph.lookup((directory, name));
        found.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    })
}
