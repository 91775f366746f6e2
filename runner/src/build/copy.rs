//! COPY and ADD: sources unpacked in a container of the stage, whose root is where links lead.

use super::ignore::Ignore;
use super::parse::{Copy, Source};
use super::settings::below;
use super::sources::{Found, How, Origin, find, open, write};
use super::stage::{Stage, Workshop, is_directory, named_or_numbered, refused};
use crate::container::commit;
use crate::container::files::{Files, Way};
use crate::container::spec::Spec;
use crate::container::transfer::{How as Unpacking, unpack};
use crate::error::{Error, Result};
use crate::image::Layer;
use crate::network::Source as Network;
use crate::registry::{Digest, Download, download, is_address, name_in};
use crate::types::hex;
use archive::Meta;
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A source: a path, or a text under a name.
pub(super) type Named = std::result::Result<String, (String, String)>;

/// Most bytes of a file that ADD fetches.
const LARGEST_DOWNLOAD: u64 = 1 << 40;

/// Puts variables into a word.
pub(super) type Full<'a> = &'a dyn Fn(&str) -> Result<String>;

/// What an instruction asks for, its variables put in.
struct Wish {
    verb: &'static str,
    sources: Vec<Named>,
    /// As it stands there.
    target: String,
    /// The same from `/` on.
    absolute: String,
    from: Option<String>,
    chown: Option<String>,
    mode: Option<u32>,
    /// What the one source that is fetched must be.
    checksum: Option<Digest>,
    /// Patterns of `--exclude`, one a line.
    exclude: String,
    parents: bool,
}

impl Wish {
    /// Its flags; sources and target come later.
    fn flags(copy: &Copy, add: bool, full: Full<'_>) -> Result<Self> {
        let mut wish = Self {
            verb: if add { "ADD" } else { "COPY" },
            sources: Vec::new(),
            target: full(&copy.target)?,
            absolute: String::new(),
            from: None,
            chown: None,
            mode: None,
            checksum: None,
            exclude: String::new(),
            parents: false,
        };
        for (flag, value) in &copy.flags {
            let value = full(value)?;
            match flag.as_str() {
                "from" if !add => wish.from = Some(value),
                "chown" => wish.chown = Some(value),
                "chmod" => {
                    let bits = u32::from_str_radix(&value, 8);
                    let bits = bits.ok().filter(|bits| *bits <= 0o7777);
                    let why = format!("--chmod={value}: want an octal number as 755");
                    wish.mode = Some(bits.ok_or_else(|| refused(why))?);
                }
                "checksum" if add => {
                    let why = format!("--checksum={value}: want sha256: and 64 hexadecimal digits");
                    let digest = Digest::parse(&value.to_ascii_lowercase());
                    wish.checksum = Some(digest.ok_or_else(|| refused(why))?);
                }
                "exclude" => {
                    wish.exclude.push_str(&value);
                    wish.exclude.push('\n');
                }
                "parents" if !add => wish.parents = matches!(value.as_str(), "" | "true"),
                // Layers stand alone here anyway.
                "link" => {}
                _ => {
                    let verb = wish.verb;
                    return Err(refused(format!("{verb} --{flag} is not supported")));
                }
            }
        }
        Ok(wish)
    }

    /// Sources that are neither files nor to be fetched.
    fn check_sources(&self) -> Result<()> {
        let verb = self.verb;
        let paths = self
            .sources
            .iter()
            .filter_map(|source| source.as_ref().ok());
        let (fetched, others): (Vec<&String>, Vec<_>) = paths.partition(|path| is_address(path));
        let git = |path: &&&String| path.contains("://") || path.starts_with("git@");
        let is_git = |path: &&&String| path.contains(".git#") || path.ends_with(".git");
        if let Some(url) = others
            .iter()
            .find(git)
            .or_else(|| fetched.iter().find(is_git))
        {
            return Err(refused(format!(
                "{verb} {url}: only files of http and https are fetched; clone it beside the Dockerfile"
            )));
        }
        match fetched.first() {
            Some(url) if !self.adds() => Err(refused(format!("COPY {url}: ADD fetches files"))),
            _ if self.target.ends_with('/')
                && fetched.iter().any(|url| name_in(url).is_empty()) =>
            {
                let why =
                    "an address that ends in no file name wants a target that does not end in /";
                Err(refused(why))
            }
            _ if self.checksum.is_some() && (fetched.len() != 1 || self.sources.len() != 1) => {
                Err(refused("--checksum wants one source, which is fetched"))
            }
            _ => Ok(()),
        }
    }

    /// What `--exclude` leaves out.
    fn excluded(&self) -> Result<Ignore> {
        Ignore::parse(&self.exclude).map_err(|why| refused(format!("--exclude: {why}")))
    }

    fn adds(&self) -> bool {
        self.verb == "ADD"
    }

    /// How the sources go into the root of a stage.
    fn how(&self, root: &OwnedFd) -> Result<How> {
        let marked = self.target.ends_with('/') || self.target == ".";
        Ok(How {
            directory: marked || self.sources.len() > 1 || is_directory(root, &self.absolute),
            target: self.absolute.trim_matches('/').to_owned(),
            owner: owner(self.chown.as_deref(), root)?,
            mode: self.mode,
            extract: self.adds(),
            times: true,
            exclude: self.excluded()?,
            parents: self.parents,
        })
    }
}

impl Workshop<'_> {
    /// Does a COPY or ADD.
    pub(super) fn copy(
        &mut self,
        stage: &mut Stage,
        stages: &[Stage],
        copy: &Copy,
        add: bool,
        full: Full<'_>,
    ) -> Result<()> {
        let wish = self.wish(stage, copy, add, full)?;
        self.fetch(&wish)?;
        // Whether the target is a directory, and whose a name is, follows from the layers.
        let read = match &wish.from {
            Some(name) => self.other_layers(stages, name)?.join(" "),
            None => {
                let how = How {
                    extract: add,
                    exclude: wish.excluded()?,
                    parents: wish.parents,
                    ..How::default()
                };
                self.digest(&wish.sources, &how)?
            }
        };
        let marked = wish.target.ends_with('/');
        let mut flags = format!("{:?} {:?} {:?} {marked}", wish.from, wish.chown, wish.mode);
        if wish.parents || !wish.exclude.is_empty() {
            flags.push_str(&format!(" {} {:?}", wish.parents, wish.exclude));
        }
        let named = format!("{:?}", wish.sources);
        let key = stage.key(&[wish.verb, &flags, &wish.absolute, &named, &read]);
        if self.cached(stage, &key) {
            return Ok(());
        }
        let other = wish.from.as_deref();
        let other = other.map(|name| self.other(stages, name)).transpose()?;
        let filled = self.layer(stage, |shop, files| {
            let mut spool = unnamed_file(shop.store.root())?;
            let how = wish.how(files.root())?;
            let to = BufWriter::with_capacity(256 << 10, &mut spool);
            shop.pack(other.as_ref(), &wish.sources, how, to)?;
            spool.rewind().map_err(Error::system("rewind a file"))?;
            put(files, &mut spool).map(|()| true)
        });
        if let Some(other) = other {
            self.close(other)?;
        }
        match filled? {
            Some(layer) => self.take(stage, key, layer),
            None => Ok(()),
        }
    }

    /// Fetches the sources that are elsewhere, once in a build.
    fn fetch(&mut self, wish: &Wish) -> Result<()> {
        for address in wish
            .sources
            .iter()
            .filter_map(|source| source.as_ref().ok())
        {
            if !is_address(address) {
                continue;
            }
            let file = unnamed_file(self.store.root())?;
            let checksum = wish.checksum.as_ref();
            let known = self.fetched.contains_key(address) && checksum.is_none();
            if !known {
                let fetched = download(address, checksum, LARGEST_DOWNLOAD, file)?;
                self.fetched.insert(address.clone(), fetched);
            }
        }
        Ok(())
    }

    /// A layer of what `fill` does to the files of a container of the stage, unless it says that it did
    /// nothing.
    pub(super) fn layer(
        &self,
        stage: &Stage,
        fill: impl FnOnce(&Self, &Files) -> Result<bool>,
    ) -> Result<Option<Layer>> {
        let spec = self.spec(stage, Vec::new(), Network::None)?;
        let (directory, lock) = self.create(&spec)?;
        // What opens its files takes it anew.
        drop(lock);
        let made = Files::open(self.home, &directory).and_then(|files| {
            let filled = fill(self, &files);
            files.close()?;
            match filled? {
                true => commit::layer(self.home, &directory, &spec, self.store).map(Some),
                false => Ok(None),
            }
        });
        self.remove(&spec)?;
        Ok(made?.map(|added| added.layer))
    }

    fn wish(&self, stage: &Stage, copy: &Copy, add: bool, full: Full<'_>) -> Result<Wish> {
        let mut wish = Wish::flags(copy, add, full)?;
        for source in &copy.sources {
            wish.sources.push(match source {
                Source::Path(path) => Ok(full(path)?),
                Source::Document(document) => {
                    let text = match document.expand {
                        true => self.document(stage, &document.text)?,
                        false => document.text.clone(),
                    };
                    Err((document.name.clone(), text))
                }
            });
        }
        wish.check_sources()?;
        let workdir = &stage.config.config.working_dir;
        wish.absolute = below(workdir, &wish.target).map_err(refused)?;
        Ok(wish)
    }

    /// The digest of sources of the context, and of texts, but for their times and where they go.
    pub(super) fn digest(&self, sources: &[Named], how: &How) -> Result<String> {
        let how = How {
            directory: true,
            times: false,
            ..how.clone()
        };
        let mut hash = Hashing::default();
        self.pack(None, sources, how, &mut hash)?;
        Ok(hash.hex())
    }

    /// Writes sources as a tar.
    pub(super) fn pack(
        &self,
        other: Option<&Other>,
        sources: &[Named],
        mut how: How,
        to: impl Write,
    ) -> Result<()> {
        let nothing = Ignore::default();
        let context = self
            .context
            .as_ref()
            .map(|(root, ignore)| (root, ignore, "the build context"));
        let place = match other {
            Some(other) => Some((other.files.root(), &nothing, other.name.as_str())),
            None => context,
        };
        let origin = place.map(|(root, ignore, name)| Origin { root, ignore, name });
        let mut found = Vec::new();
        for source in sources {
            match (source, &origin) {
                (Ok(path), _) if self.fetched.contains_key(path) => {
                    found.extend(self.fetched.get(path).map(taken).transpose()?);
                }
                (Err((name, text)), _) => found.push(Found::Text(name.clone(), text.clone())),
                (Ok(path), Some(origin)) => found.extend(find(origin, path).map_err(refused)?),
                (Ok(_), None) => {
                    return Err(refused(
                        "there is no build context: a Dockerfile alone was given",
                    ));
                }
            }
        }
        how.directory |= found.len() > 1;
        write(origin.as_ref(), &found, &how, to).map_err(refused)
    }

    /// Diff ids of another stage's or image's layers.
    pub(super) fn other_layers(&self, stages: &[Stage], name: &str) -> Result<Vec<String>> {
        let ids = |layers: &[Layer]| layers.iter().map(|layer| layer.diff_id.clone()).collect();
        match stage_of(stages, name) {
            Some(index) => Ok(ids(&stages[index].layers)),
            None => Ok(ids(&(self.provide)(name)?.layers)),
        }
    }

    /// The files of another stage or of an image, for `--from`.
    pub(super) fn other(&mut self, stages: &[Stage], name: &str) -> Result<Other> {
        let lowers = match stage_of(stages, name) {
            Some(index) => self.lowers(&stages[index].layers)?,
            None => {
                let image = (self.provide)(name)?;
                if image.id.is_none() {
                    return Err(refused(format!(
                        "--from={name}: want a stage or a stored image"
                    )));
                }
                image.lowers()
            }
        };
        let stage = Stage {
            from: name.to_owned(),
            ..Stage::default()
        };
        let spec = Spec {
            lowers,
            ..self.spec(&stage, Vec::new(), Network::None)?
        };
        let (directory, lock) = self.create(&spec)?;
        drop(lock);
        match Files::open(self.home, &directory) {
            Ok(files) => Ok(Other {
                spec,
                files,
                name: name.to_owned(),
            }),
            Err(error) => {
                self.remove(&spec)?;
                Err(error)
            }
        }
    }

    pub(super) fn close(&self, other: Other) -> Result<()> {
        let closed = other.files.close();
        self.remove(&other.spec)?;
        closed
    }
}

/// A fetched file as a source; its permissions are docker's.
fn taken(fetched: &Download) -> Result<Found> {
    let file = fetched.file.try_clone();
    let meta = Meta {
        mode: 0o600,
        mtime: (fetched.modified.unwrap_or(0), 0),
        ..Meta::default()
    };
    Ok(Found::Fetched(
        file.map_err(Error::system("open a file again"))?,
        meta,
        (fetched.name.clone(), fetched.size),
    ))
}

/// What `--from` names.
pub(super) struct Other {
    spec: Spec,
    files: Files,
    name: String,
}

impl Other {
    pub(super) fn root(&self) -> &OwnedFd {
        self.files.root()
    }
}

/// The number of a stage, by its name or number.
fn stage_of(stages: &[Stage], name: &str) -> Option<usize> {
    named_or_numbered(stages.iter().map(|stage| stage.name.as_deref()), name)
}

/// A file without a name.
pub(super) fn unnamed_file(root: &Path) -> Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = rustix::fs::open(root, flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    Ok(File::from(made.map_err(|e| {
        Error::io("make a file in", root)(e.into())
    })?))
}

/// Owners stay what the tar says.
fn unpacking() -> Unpacking {
    Unpacking {
        keep_owners: true,
        ..Unpacking::default()
    }
}

/// Unpacks a tar below a directory of ours.
pub(super) fn put_below(from: &mut File, directory: &Path) -> Result<()> {
    unpack(from, directory, unpacking()).map_err(refused)
}

/// Unpacks a tar in the container, where its links lead.
fn put(files: &Files, from: &mut File) -> Result<()> {
    let how = unpacking();
    let mut helper = files.helper(Way::In, |pipe| unpack(pipe, Path::new("/"), how))?;
    let copied = std::io::copy(from, &mut helper.pipe);
    helper.finish()?.map_err(refused)?;
    // What the helper says tells more than a pipe that is closed.
    copied.map(|_| ()).map_err(Error::system("hand over files"))
}

/// `--chown`: numbers, or names of the container's own files.
fn owner(text: Option<&str>, root: &OwnedFd) -> Result<(u32, u32)> {
    let Some(text) = text else { return Ok((0, 0)) };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let find = |file: &str, name: &str| -> Option<Vec<String>> {
        let mut text = String::new();
        let opened = open(root, Path::new(file), OFlags::RDONLY).ok()?;
        File::from(opened)
            .take(1 << 20)
            .read_to_string(&mut text)
            .ok()?;
        let lines = text
            .lines()
            .map(|line| line.split(':').map(str::to_owned).collect());
        let mut lines: std::vec::IntoIter<Vec<String>> = lines.collect::<Vec<_>>().into_iter();
        lines.find(|fields| fields.first().is_some_and(|first| first == name))
    };
    let unknown = |what: &str, name: &str| {
        refused(format!(
            "--chown={text}: no {what} {name:?} in the image; use a number, or make it first"
        ))
    };
    let number = |fields: &[String], n: usize| fields.get(n)?.parse::<u32>().ok();
    let account = find("etc/passwd", user);
    let uid = match (user.parse::<u32>(), &account) {
        (Ok(uid), _) => uid,
        (_, Some(fields)) => number(fields, 2).ok_or_else(|| unknown("user", user))?,
        _ => return Err(unknown("user", user)),
    };
    let gid = match group {
        None => account.and_then(|fields| number(&fields, 3)).unwrap_or(uid),
        Some(group) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => find("etc/group", group)
                .and_then(|fields| number(&fields, 2))
                .ok_or_else(|| unknown("group", group))?,
        },
    };
    Ok((uid, gid))
}

/// Hashes what is written.
#[derive(Default)]
struct Hashing(sha2::Sha256);

impl Hashing {
    fn hex(self) -> String {
        use sha2::Digest;
        hex(&self.0.finalize())
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        sha2::Digest::update(&mut self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
