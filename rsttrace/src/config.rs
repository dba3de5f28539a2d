//! The configuration files: devices on the path, the history, and options of `rsttrace watch`.
//!
//! An invalid file is an error that names the file, the line, the key and a valid value.

mod parse;
mod show;
mod suggest;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use parse::parse;
pub use show::{Unset, show};
pub use suggest::nearest;

use crate::silence::candidates::Hop;
use crate::store::{self, Limits};
use crate::sys::Input;

/// Folder of the default files: `config.toml` and `config.d/*.toml`, all optional.
pub const FOLDER: &str = "/etc/rsttrace";

/// Size limit of a file in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// What the files say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The files that were read, in this order.
    pub files: Vec<PathBuf>,
    /// The `[[hop]]` tables, in the order of the files.
    pub hops: Vec<Hop>,
    /// The `[store]` tables; absent: no history unless requested on the command line.
    pub store: Option<StoreConfig>,
    /// The `[watch]` tables, one setting per key. Keys and values are checked by the command line's definition.
    pub watch: Vec<Setting>,
    /// The keys of each hop, as written.
    hop_settings: Vec<Vec<Setting>>,
    /// The keys of the history, as written.
    store_settings: Vec<Setting>,
}

/// The history: its file and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    pub file: PathBuf,
    pub limits: Limits,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::from(store::DEFAULT_PATH),
            limits: Limits::default(),
        }
    }
}

/// A key and its value in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: Value,
    /// The value as the file has it.
    pub toml: String,
    pub place: Place,
}

/// Where a file says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// Line number, starting at 1.
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Boolean(bool),
    /// A string, or the digits of a decimal integer.
    Scalar(String),
    List(Vec<Value>),
    /// A value that no key accepts; the name of its type.
    Other(&'static str),
}

impl Setting {
    /// An error in this setting; `problem` ends with the next step.
    pub fn error(&self, problem: &str) -> ConfigError {
        ConfigError::Content {
            file: self.place.file.clone(),
            line: self.place.line,
            key: Some(parse::printable(&self.key)),
            problem: parse::printable(problem),
        }
    }
}

/// An error in the configuration. Each message names the file and ends with the next step.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file given with `--config` does not exist.
    #[error("{}: no such file; create it, or remove --config", .0.display())]
    Missing(PathBuf),
    /// A name in `config.d` without a file behind it, such as a broken link.
    #[error("{}: the link points to no file; correct the link, or remove it", .0.display())]
    Dangling(PathBuf),
    #[error("{}: permission denied; run as root, or make the file readable for this user", .0.display())]
    NotPermitted(PathBuf),
    #[error("{}: {error}; use a readable configuration file", file.display())]
    Unreadable { file: PathBuf, error: io::Error },
    #[error("{}: larger than 1 MiB; check that this is the configuration file", .0.display())]
    TooLarge(PathBuf),
    #[error("{}:{line}: {}{problem}", file.display(), key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
    Content {
        file: PathBuf,
        /// Line number, starting at 1.
        line: usize,
        /// Absent if the text is not valid TOML.
        key: Option<String>,
        /// The problem and how to fix it.
        problem: String,
    },
}

/// Reads the given file or, without one, those in [`FOLDER`] that exist.
pub fn load(named: Option<&Path>) -> Result<Config, ConfigError> {
    match named {
        Some(file) => load_file(file)?.ok_or_else(|| ConfigError::Missing(file.to_owned())),
        None => load_folder(Path::new(FOLDER)),
    }
}

/// Reads `config.toml` and then `config.d/*.toml` in lexical order.
fn load_folder(folder: &Path) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    if let Some(main) = load_file(&folder.join("config.toml"))? {
        config.add(main);
    }
    for file in fragments(folder)? {
        let next = load_file(&file)?.ok_or(ConfigError::Dangling(file))?;
        config.add(next);
    }
    Ok(config)
}

/// The files of `config.d`. As with a shell's `*.toml`, hidden ones are none of them.
fn fragments(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = folder.join("config.d");
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&folder)?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut files = match list() {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&folder, error)),
    };
    files.retain(|file| {
        let name = file.file_name().map(|name| name.as_encoded_bytes());
        name.is_some_and(|name| name.ends_with(b".toml") && !name.starts_with(b"."))
    });
    files.sort();
    Ok(files)
}

/// Absent: there is no such file.
fn load_file(file: &Path) -> Result<Option<Config>, ConfigError> {
    match read(file) {
        Ok(bytes) if bytes.len() as u64 > MOST_BYTES => Err(ConfigError::TooLarge(file.to_owned())),
        Ok(bytes) => {
            let mut config = parse(&bytes, file)?;
            config.files.push(file.to_owned());
            Ok(Some(config))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file, error)),
    }
}

fn unreadable(file: &Path, error: io::Error) -> ConfigError {
    let file = file.to_owned();
    match error.kind() {
        io::ErrorKind::PermissionDenied => ConfigError::NotPermitted(file),
        _ => ConfigError::Unreadable { file, error },
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Input::open(file)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Config {
    /// Adds a later file: its keys win, its hops come in addition.
    pub fn add(&mut self, later: Self) {
        self.files.extend(later.files);
        self.hops.extend(later.hops);
        self.hop_settings.extend(later.hop_settings);
        if let Some(newer) = later.store {
            let store = self.store.get_or_insert_default();
            for setting in &later.store_settings {
                match setting.key.as_str() {
                    "file" => store.file.clone_from(&newer.file),
                    "keep" => store.limits.age = newer.limits.age,
                    _ => store.limits.bytes = newer.limits.bytes,
                }
            }
        }
        replace(&mut self.store_settings, later.store_settings);
        replace(&mut self.watch, later.watch);
    }
}

/// Puts later settings in the place of earlier ones with the same key.
fn replace(settings: &mut Vec<Setting>, later: Vec<Setting>) {
    for setting in later {
        match settings.iter_mut().find(|it| it.key == setting.key) {
            Some(earlier) => *earlier = setting,
            None => settings.push(setting),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    const HOP: &str =
        "[[hop]]\nname = 'edge'\naddress = '10.0.3.0/24'\ntimeout = '5min'\nmode = 'late_rst'\n";

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let config = || load(Some(&file));
        assert!(matches!(config(), Err(ConfigError::Missing(_))));
        fs::write(&file, HOP).unwrap();
        assert_eq!(config().unwrap().hops.len(), 1);
        fs::write(&file, "#".repeat(2 << 20)).unwrap();
        assert!(matches!(config(), Err(ConfigError::TooLarge(_))));
        let unreadable = load(Some(folder.path())).unwrap_err();
        assert!(matches!(unreadable, ConfigError::Unreadable { .. }));
    }

    /// A folder with `config.toml` and fragments.
    fn folder(main: &str, fragments: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), main).unwrap();
        fs::create_dir(folder.path().join("config.d")).unwrap();
        for (name, text) in fragments {
            fs::write(folder.path().join("config.d").join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn later_files_replace_keys_and_add_hops() {
        let main = "[store]\nkeep = '1d'\nfile = '/srv/a.db'\n[watch]\nnoise = true\nutc = true\n";
        let inner = HOP.replace("edge", "inner");
        let folder = folder(
            &format!("{HOP}{main}"),
            &[
                ("20-site.toml", &inner),
                (
                    "10-store.toml",
                    "[store]\nkeep = '2d'\n[watch]\nnoise = false\n",
                ),
                ("30-store.toml", "[store]\nkeep-size = '8MiB'\n"),
                (".hidden.toml", "what"),
                ("notes.txt", "what"),
                ("old.toml.bak", "what"),
            ],
        );
        let config = load_folder(folder.path()).unwrap();
        let files = [
            "config.toml",
            "config.d/10-store.toml",
            "config.d/20-site.toml",
            "config.d/30-store.toml",
        ];
        assert_eq!(config.files, files.map(|file| folder.path().join(file)));
        let names: Vec<_> = config.hops.iter().map(|hop| hop.name.as_str()).collect();
        assert_eq!(names, ["edge", "inner"]);
        let store = config.store.unwrap();
        assert_eq!(store.file, Path::new("/srv/a.db"));
        assert_eq!(store.limits.age, Duration::from_secs(2 * 86_400));
        assert_eq!(store.limits.bytes, 8 << 20);
        let watch: Vec<_> = config
            .watch
            .iter()
            .map(|it| (it.key.as_str(), &it.value))
            .collect();
        let (no, yes) = (Value::Boolean(false), Value::Boolean(true));
        assert_eq!(watch, [("noise", &no), ("utc", &yes)]);
        assert_eq!(config.watch[0].place.file, config.files[1]);
    }

    #[test]
    fn an_error_names_the_file_it_is_in() {
        let folder = folder("", &[("10.toml", ""), ("20.toml", "\n[stor]\n")]);
        let error = load_folder(folder.path()).unwrap_err().to_string();
        let file = folder.path().join("config.d/20.toml");
        assert!(
            error.starts_with(&format!("{}:2: stor: ", file.display())),
            "{error}"
        );
    }

    #[test]
    fn a_link_to_nothing_in_the_folder_is_an_error() {
        let folder = folder("", &[]);
        let link = folder.path().join("config.d/10.toml");
        std::os::unix::fs::symlink("/nonexistent/site.toml", &link).unwrap();
        let error = load_folder(folder.path()).unwrap_err();
        assert!(
            matches!(&error, ConfigError::Dangling(file) if *file == link),
            "{error}"
        );
    }

    #[test]
    fn a_folder_without_files_is_no_configuration() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_folder(folder.path()).unwrap(), Config::default());
        assert_eq!(
            load_folder(&folder.path().join("none")).unwrap(),
            Config::default()
        );
        fs::create_dir(folder.path().join("config.d")).unwrap();
        fs::write(folder.path().join("config.d/a.toml"), HOP).unwrap();
        assert_eq!(load_folder(folder.path()).unwrap().hops.len(), 1);
    }

    #[test]
    fn what_is_shown_can_be_read_back_and_names_its_files() {
        let main =
            format!("{HOP}[store]\nkeep = '1d'\n[watch]\nport = [\n  22, # ssh\n  443,\n]\n");
        let folder = folder(&main, &[("a.toml", "[watch]\nutc = true\n")]);
        let config = load_folder(folder.path()).unwrap();
        let shown = show(&config, None);
        let file = folder.path().join("config.d/a.toml");
        assert!(
            shown.contains(&format!("\nutc = true  # {}:2\n", file.display())),
            "{shown}"
        );
        let unset = [Unset {
            key: "details".into(),
            toml: "20".into(),
            is_default: true,
        }];
        let all = show(&config, Some(&unset));
        assert!(
            all.contains("\n#keep-size = \"256MiB\"  # default\n"),
            "{all}"
        );
        assert!(all.contains("\n#details = 20  # default\n"), "{all}");
        for text in [shown, all] {
            let again = parse(text.as_bytes(), Path::new("c.toml")).unwrap();
            assert_eq!((&again.hops, &again.store), (&config.hops, &config.store));
            let values = |config: &Config| -> Vec<_> {
                let settings = config.watch.iter();
                settings
                    .map(|it| (it.key.clone(), it.value.clone()))
                    .collect()
            };
            assert_eq!(values(&again), values(&config));
        }
        let nothing = show(&Config::default(), Some(&unset));
        assert_eq!(
            parse(nothing.as_bytes(), Path::new("c.toml")).unwrap(),
            Config::default()
        );
        let used: String = nothing
            .lines()
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let used = used.replace(" no configuration file", "");
        let store = parse(used.as_bytes(), Path::new("c.toml")).unwrap().store;
        assert_eq!(store, Some(StoreConfig::default()));
    }
}
