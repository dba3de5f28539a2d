//! The effective configuration as TOML that can be read back.

use std::fmt::Write as _;

use super::{Config, Setting};

/// A key of `[watch]` that no file sets.
pub struct Unset {
    pub key: String,
    /// The default, or what a value looks like.
    pub toml: String,
    pub is_default: bool,
}

/// Keys of `[store]` and their defaults.
const STORE: [(&str, &str); 3] = [
    ("file", "\"/var/lib/rsttrace/history.db\""),
    ("keep", "\"7d\""),
    ("keep-size", "\"256MiB\""),
];

/// Writes what the files say, with the place of each value; `unset`: also, as comments, the keys that no file has.
pub fn show(config: &Config, unset: Option<&[Unset]>) -> String {
    let mut text = String::new();
    if config.files.is_empty() {
        text += "# no configuration file\n";
    }
    for file in &config.files {
        line(&mut text, &format!("# read: {}", file.display()));
    }
    for hop in &config.hop_settings {
        table(&mut text, "[[hop]]", hop, false);
    }
    if config.store.is_some() || unset.is_some() {
        let is_on = config.store.is_some();
        table(&mut text, "[store]", &config.store_settings, !is_on);
        let has = |key| config.store_settings.iter().any(|it| it.key == key);
        for (key, default) in STORE.iter().filter(|(key, _)| !has(*key)) {
            if unset.is_some() {
                line(&mut text, &format!("#{key} = {default}  # default"));
            }
        }
    }
    if !config.watch.is_empty() || unset.is_some() {
        table(&mut text, "[watch]", &config.watch, config.watch.is_empty());
        let has = |key: &str| config.watch.iter().any(|it| it.key == key);
        for unset in unset.into_iter().flatten().filter(|it| !has(&it.key)) {
            let note = if unset.is_default {
                "default"
            } else {
                "not set"
            };
            line(
                &mut text,
                &format!("#{} = {}  # {note}", unset.key, unset.toml),
            );
        }
    }
    text
}

fn table(text: &mut String, header: &str, settings: &[Setting], is_comment: bool) {
    text.push('\n');
    line(
        text,
        &format!("{}{header}", if is_comment { "#" } else { "" }),
    );
    for setting in settings {
        let Setting {
            key, toml, place, ..
        } = setting;
        let file = place.file.display();
        line(text, &format!("{key} = {toml}  # {file}:{}", place.line));
    }
}

fn line(text: &mut String, content: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{content}");
}
