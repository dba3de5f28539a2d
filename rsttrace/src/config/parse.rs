//! The contents of one configuration file.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError, Place, Setting, StoreConfig, Value, nearest};
use crate::record::IdleMode;
use crate::silence::candidates::Hop;
use crate::silence::devices::Kind;
use crate::values;

/// Parses and validates the contents; `file` is used in errors only.
pub fn parse(bytes: &[u8], file: &Path) -> Result<Config, ConfigError> {
    let content = |mistake: Mistake| ConfigError::Content {
        file: file.to_owned(),
        line: line(bytes, mistake.at),
        key: mistake.key.as_deref().map(printable),
        problem: printable(&mistake.problem),
    };
    let text = str::from_utf8(bytes).map_err(|error| {
        content(Mistake {
            at: error.valid_up_to(),
            key: None,
            problem: "not valid UTF-8; save the file as UTF-8".to_owned(),
        })
    })?;
    let wrong = |error: toml::de::Error| {
        let at = error.span().unwrap_or_default();
        content(explain(text, at, error.message()))
    };
    let mut document = DeTable::parse(text).map_err(wrong)?;
    let breaks = text.match_indices('\n').map(|(at, _)| at).collect();
    let read = Read { text, file, breaks };
    let watch = match document.get_mut().remove("watch") {
        None => Vec::new(),
        Some(table) => match table.get_ref() {
            DeValue::Table(keys) => read.settings(keys),
            _ => {
                return Err(content(Mistake {
                    at: table.span().start,
                    key: Some("watch".to_owned()),
                    problem: format!("invalid type; {}", next_step("watch")),
                }));
            }
        },
    };
    let hop_settings = match document.get_ref().get("hop").map(Spanned::get_ref) {
        Some(DeValue::Array(hops)) => hops.iter().map(|hop| read.table(Some(hop))).collect(),
        _ => Vec::new(),
    };
    let store_settings = read.table(document.get_ref().get("store"));
    let tables = Tables::deserialize(toml::Deserializer::from(document)).map_err(wrong)?;
    let hops: Result<Vec<_>, _> = tables.hop.into_iter().map(hop).collect();
    Ok(Config {
        files: Vec::new(),
        hops: hops.map_err(content)?,
        store: tables.store.map(store).transpose().map_err(content)?,
        watch,
        hop_settings,
        store_settings,
    })
}

/// The text of a file, from which settings are taken as written.
struct Read<'a> {
    text: &'a str,
    file: &'a Path,
    /// Offsets of the line breaks.
    breaks: Vec<usize>,
}

impl Read<'_> {
    /// The settings of a table; none of anything else.
    fn table(&self, table: Option<&Spanned<DeValue<'_>>>) -> Vec<Setting> {
        match table.map(Spanned::get_ref) {
            Some(DeValue::Table(keys)) => self.settings(keys),
            _ => Vec::new(),
        }
    }

    /// In the order of the file.
    fn settings(&self, keys: &DeTable<'_>) -> Vec<Setting> {
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        keys.into_iter()
            .map(|(key, value)| Setting {
                key: key.get_ref().to_string(),
                value: of(value.get_ref()),
                toml: self.text.get(value.span()).unwrap_or_default().to_owned(),
                place: Place {
                    file: self.file.to_owned(),
                    line: 1 + self.breaks.partition_point(|at| *at < key.span().start),
                },
            })
            .collect()
    }
}

fn of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Scalar(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => {
            Value::Scalar(number.as_str().to_owned())
        }
        DeValue::Boolean(is_set) => Value::Boolean(*is_set),
        DeValue::Array(values) => {
            Value::List(values.iter().map(|value| of(value.get_ref())).collect())
        }
        DeValue::Integer(_) => Value::Other("an integer that is not decimal"),
        DeValue::Float(_) => Value::Other("a float"),
        DeValue::Datetime(_) => Value::Other("a date or time"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

/// The contents of the file before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    hop: Vec<Table>,
    store: Option<StoreTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    file: Option<Spanned<String>>,
    keep: Option<Spanned<String>>,
    #[serde(rename = "keep-size")]
    keep_size: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<String>,
    address: Spanned<String>,
    port: Option<Spanned<i64>>,
    timeout: Spanned<String>,
    mode: Spanned<String>,
    kind: Option<Spanned<String>>,
}

struct Mistake {
    /// Offset in bytes.
    at: usize,
    key: Option<String>,
    problem: String,
}

fn hop(table: Table) -> Result<Hop, Mistake> {
    let network = value("address", &table.address, |text| values::network(text).ok())?;
    let timeout = duration(&table.timeout)?;
    let mode = value("mode", &table.mode, mode)?;
    let port = table.port.as_ref().map(port).transpose()?;
    let kind = table
        .kind
        .as_ref()
        .map(|text| value("kind", text, kind))
        .transpose()?;
    let name = value("name", &table.name, |text| {
        let text = text.trim();
        // The name is printed to terminals.
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    })?;
    Ok(Hop {
        name,
        network,
        port,
        timeout,
        mode,
        kind: kind.unwrap_or(match mode {
            IdleMode::FinAtExpiry => Kind::Terminating,
            IdleMode::RstAtExpiry | IdleMode::LateRst => Kind::Transparent,
        }),
    })
}

fn store(table: StoreTable) -> Result<StoreConfig, Mistake> {
    let mut store = StoreConfig::default();
    if let Some(file) = &table.file {
        store.file = value("file", file, |text| {
            let path = Path::new(text);
            path.is_absolute().then(|| path.to_owned())
        })?;
    }
    if let Some(keep) = &table.keep {
        store.limits.age = value("keep", keep, |text| values::age(text).ok())?;
    }
    if let Some(size) = &table.keep_size {
        store.limits.bytes = value("keep-size", size, |text| values::store_bytes(text).ok())?;
    }
    Ok(store)
}

fn value<T>(
    key: &'static str,
    text: &Spanned<String>,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, Mistake> {
    read(text.get_ref()).ok_or_else(|| wrong(key, text.span(), text.get_ref()))
}

fn duration(text: &Spanned<String>) -> Result<std::time::Duration, Mistake> {
    values::duration(text.get_ref()).map_err(|next| Mistake {
        problem: format!("invalid duration {:?}; {next}", text.get_ref()),
        ..wrong("timeout", text.span(), text.get_ref())
    })
}

fn port(number: &Spanned<i64>) -> Result<u16, Mistake> {
    u16::try_from(*number.get_ref())
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| wrong("port", number.span(), number.get_ref()))
}

fn mode(name: &str) -> Option<IdleMode> {
    IdleMode::ALL
        .iter()
        .copied()
        .find(|mode| mode.name() == name)
}

fn kind(name: &str) -> Option<Kind> {
    match name {
        "transparent" => Some(Kind::Transparent),
        "terminating" => Some(Kind::Terminating),
        _ => None,
    }
}

fn wrong(key: &str, span: Range<usize>, value: impl std::fmt::Debug) -> Mistake {
    Mistake {
        at: span.start,
        key: Some(key.to_owned()),
        problem: format!("invalid value {value:?}; {}", next_step(key)),
    }
}

/// Translates an error of the TOML parser: adds the key and the next step.
fn explain(text: &str, span: Range<usize>, message: &str) -> Mistake {
    let about = |start: &str| message.starts_with(start);
    // The parser's "expected …" uses Rust terms; the next step replaces it.
    let found = message.split(", expected").next().unwrap_or(message);
    let quoted = || found.split('`').nth(1).map(str::to_owned);
    let line_key = key_of_line(text, span.start);
    let (key, next) = if about("unknown field") {
        let (names, next): (&[&str], _) = if message.ends_with("`hop` or `store`") {
            (&TABLES, TABLES_NEXT)
        } else if message.contains("`keep-size`") {
            (&STORE_KEYS, "[store] has the keys file, keep and keep-size")
        } else {
            (
                &HOP_KEYS,
                "[[hop]] has the keys name, address, port, timeout, mode and kind",
            )
        };
        let word = quoted();
        let suggestion = word
            .as_deref()
            .and_then(|word| nearest(word, names.iter().copied()));
        let next = match suggestion {
            Some(name) => format!("did you mean `{name}`? {next}"),
            None => format!("correct the name; {next}"),
        };
        return Mistake {
            at: span.start,
            key: word,
            problem: format!("{found}; {next}"),
        };
    } else if about("missing field") {
        let key = quoted();
        let next = next_step(key.as_deref().unwrap_or_default());
        (key, next)
    } else if about("duplicate key") {
        (line_key, "remove one of the two lines")
    } else if about("invalid type") {
        let key = key_before(text, span.start).unwrap_or_else(|| "hop".to_owned());
        let next = next_step(&key);
        (Some(key), next)
    } else {
        let next = line_key.as_deref().map_or(SYNTAX, next_step);
        (line_key, next)
    };
    Mistake {
        at: span.start,
        key,
        problem: format!("{found}; {next}"),
    }
}

const TABLES: [&str; 3] = ["hop", "store", "watch"];
const TABLES_NEXT: &str = "the file may contain only [[hop]], [store] and [watch] tables";
const STORE_KEYS: [&str; 3] = ["file", "keep", "keep-size"];
const HOP_KEYS: [&str; 6] = ["name", "address", "port", "timeout", "mode", "kind"];

const SYNTAX: &str = "use [[hop]] followed by lines like name = \"edge balancer\"";

/// The key whose value begins at the offset.
fn key_before(text: &str, at: usize) -> Option<String> {
    let before = text.get(..at)?.trim_end_matches(BLANKS);
    let before = before.strip_suffix('=')?.trim_end_matches(BLANKS);
    before.rsplit(not_of_a_key).next().and_then(key)
}

/// The key at the beginning of the offset's line.
fn key_of_line(text: &str, at: usize) -> Option<String> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let (before, _) = line.split_once('=')?;
    let before = before.trim_matches(BLANKS);
    (!before.contains(not_of_a_key))
        .then_some(before)
        .and_then(key)
}

const BLANKS: [char; 2] = [' ', '\t'];

fn not_of_a_key(c: char) -> bool {
    !(c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn key(word: &str) -> Option<String> {
    (!word.is_empty()).then(|| word.to_owned())
}

fn next_step(key: &str) -> &'static str {
    match key {
        "name" => "set the name of the device, for example name = \"edge balancer\"",
        "address" => {
            "set the remote address or network as this host sees it, for example address = \"10.0.3.7\" or \"10.0.3.0/24\"; host names are not supported"
        }
        "port" => {
            "set the service port, for example port = 8080, or remove the line to match any port"
        }
        "timeout" => "set the idle timeout of the device, for example timeout = \"5min\"",
        "mode" => {
            "set what the device does at its timeout: mode = \"rst_at_expiry\", \"late_rst\" or \"fin_at_expiry\""
        }
        "file" => {
            "set the absolute path of the history, for example file = \"/var/lib/rsttrace/history.db\""
        }
        "keep" => "set the retention time, for example keep = \"7d\"",
        "keep-size" => {
            "set the maximum size of the history, for example keep-size = \"256MiB\"; the minimum is 4MiB"
        }
        "watch" => "put [watch] on a line of its own, followed by its keys",
        "store" => "put [store] on a line of its own, followed by its keys",
        "kind" => "set kind = \"transparent\" or \"terminating\", or remove the line",
        _ => "put [[hop]] on a line of its own for each device, followed by its keys",
    }
}

/// Escapes control characters, because messages quote the file.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let control = c.is_control().then(|| c.escape_default());
            let plain = control.is_none().then_some(c);
            control.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Line number of an offset, starting at 1.
fn line(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or(bytes);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const HOP: &str = r#"
[[hop]]
name = "edge balancer"
address = "10.0.3.0/24"
timeout = "5min"
mode = "late_rst"
"#;

    fn read(text: &str) -> Result<Config, String> {
        parse(text.as_bytes(), Path::new("c.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_documented_example_is_valid() {
        let page = include_str!("../../../docs/CONFIGURATION.md");
        let example = page.split("```toml\n").nth(1).unwrap();
        let config = read(example.split("```").next().unwrap()).unwrap();
        assert_eq!(
            config.hops,
            [Hop {
                name: "edge balancer".into(),
                network: "10.0.3.0/24".parse().unwrap(),
                port: Some(8080),
                timeout: Duration::from_secs(300),
                mode: IdleMode::FinAtExpiry,
                kind: Kind::Terminating,
            }]
        );
    }

    #[test]
    fn what_is_optional_may_be_left_out() {
        assert_eq!(read(""), Ok(Config::default()));
        assert_eq!(read("# nothing yet\n"), Ok(Config::default()));
        let hop = &read(HOP).unwrap().hops[0];
        assert_eq!((hop.port, hop.kind), (None, Kind::Transparent));
        let hop = &read(&HOP.replace("late_rst", "fin_at_expiry"))
            .unwrap()
            .hops[0];
        assert_eq!(hop.kind, Kind::Terminating);
        let hop = &read(&format!("{HOP}kind = \"terminating\"\n"))
            .unwrap()
            .hops[0];
        assert_eq!(hop.kind, Kind::Terminating);
    }

    #[test]
    fn a_store_says_where_and_how_much() {
        assert_eq!(read("[store]").unwrap().store, Some(StoreConfig::default()));
        let text = "[store]\nfile = \"/srv/h.db\"\nkeep = \"30d\"\nkeep-size = \"1GiB\"\n";
        let store = read(text).unwrap().store.unwrap();
        assert_eq!(store.file, Path::new("/srv/h.db"));
        assert_eq!(store.limits.age, Duration::from_secs(30 * 86_400));
        assert_eq!(store.limits.bytes, 1 << 30);
    }

    #[test]
    fn options_of_watch_keep_their_line_and_their_text() {
        let text = "[watch]\n# one\nport = [22, \"8000-8999\"]\nutc = true\nmetrics = '127.0.0.1:9464' # two\nkeep = 1.5\n";
        let settings = read(text).unwrap().watch;
        let scalar = |text: &str| Value::Scalar(text.to_owned());
        let expected = [
            (
                "port",
                Value::List(vec![scalar("22"), scalar("8000-8999")]),
                "[22, \"8000-8999\"]",
                3,
            ),
            ("utc", Value::Boolean(true), "true", 4),
            ("metrics", scalar("127.0.0.1:9464"), "'127.0.0.1:9464'", 5),
            ("keep", Value::Other("a float"), "1.5", 6),
        ];
        let expected = expected.map(|(key, value, toml, line)| Setting {
            key: key.to_owned(),
            value,
            toml: toml.to_owned(),
            place: Place {
                file: "c.toml".into(),
                line,
            },
        });
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_single_address_is_a_network_of_one() {
        for (address, network) in [
            ("10.0.3.7", "10.0.3.7/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:10.0.3.7", "10.0.3.7/32"),
        ] {
            let config = read(&HOP.replace("10.0.3.0/24", address)).unwrap();
            assert_eq!(
                config.hops[0].network,
                network.parse().unwrap(),
                "{address}"
            );
        }
    }

    #[test]
    fn hops_keep_their_order() {
        let text = HOP.replace("edge", "inner");
        let names = read(&format!("{HOP}{text}")).unwrap().hops;
        assert_eq!(names[0].name, "edge balancer");
        assert_eq!(names[1].name, "inner balancer");
    }

    #[test]
    fn each_mistake_has_its_line_its_key_and_a_next_step() {
        let wrong: Vec<String> = mistakes()
            .into_iter()
            .filter_map(|(text, place, next)| {
                let error = read(&text).err().unwrap_or_default();
                let is_right = error.starts_with(&format!("c.toml:{place}"))
                    && error.contains(next)
                    // In our own terms.
                    && !error.contains("Table");
                (!is_right).then(|| format!("{text}\n-> {error}, not {place} .. {next}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    /// A file, the beginning of what is said of it, and a part of the next step.
    fn mistakes() -> Vec<(String, &'static str, &'static str)> {
        let with = |line: &str| format!("{HOP}{line}\n");
        let without = |line: &str| HOP.replace(line, "#");
        vec![
            // Of the whole file.
            ("hop = 3".into(), "1: hop: invalid type", "[[hop]]"),
            (
                "\n[hop]\nname = \"x\"".into(),
                "2: hop: invalid type",
                "[[hop]]",
            ),
            ("hop = [3]".into(), "1: hop: invalid type", "[[hop]]"),
            ("[[hops]]".into(), "1: hops: unknown field", "[[hop]]"),
            ("store = 3".into(), "1: store: invalid type", "[store]"),
            (
                "[store]\nage = 3".into(),
                "2: age: unknown field",
                "keep-size",
            ),
            ("[store]\nfile = \"x.db\"".into(), "2: file: ", "/var/lib"),
            ("[store]\nkeep = \"7\"".into(), "2: keep: ", "7d"),
            ("[store]\nkeep = 7".into(), "2: keep: ", "7d"),
            (
                "[store]\nkeep-size = \"1k\"".into(),
                "2: keep-size: ",
                "256MiB",
            ),
            ("watch = 3".into(), "1: watch: invalid type", "[watch]"),
            ("[[watch]]".into(), "1: watch: invalid type", "[watch]"),
            (
                "[wach]".into(),
                "1: wach: unknown field",
                "did you mean `watch`?",
            ),
            (
                "[store]\nkeep_size = 3".into(),
                "2: keep_size: unknown field",
                "did you mean `keep-size`?",
            ),
            (
                "[watch]\nevery = true\nevery = false".into(),
                "3: every: duplicate key",
                "remove one",
            ),
            ("hop".into(), "1: key with no value", "[[hop]]"),
            ("[[hop]".into(), "1: unclosed array table", "[[hop]]"),
            // Of a key.
            (
                with("adress = 1"),
                "7: adress: unknown field",
                "[[hop]] has the keys name, address",
            ),
            (
                with("mode = \"late_rst\""),
                "7: mode: duplicate key",
                "remove one",
            ),
            (
                without("name = \"edge balancer\""),
                "2: name: missing",
                "edge balancer",
            ),
            (
                without("address = \"10.0.3.0/24\""),
                "2: address: missing",
                "10.0.3.7",
            ),
            (without("timeout = \"5min\""), "2: timeout: missing", "5min"),
            (
                without("mode = \"late_rst\""),
                "2: mode: missing",
                "fin_at_expiry",
            ),
            (
                format!("{HOP}\n[[hop]]"),
                "8: name: missing",
                "edge balancer",
            ),
            // Of a value.
            (
                HOP.replace("edge balancer", " "),
                "3: name: ",
                "edge balancer",
            ),
            (
                HOP.replace("edge", "\\u001b[2J"),
                "3: name: ",
                "edge balancer",
            ),
            (
                HOP.replace("10.0.3.0", "host"),
                "4: address: ",
                "host names are not supported",
            ),
            (HOP.replace("/24", "/33"), "4: address: ", "10.0.3.0/24"),
            (
                HOP.replace("\"5min\"", "300"),
                "5: timeout: invalid type",
                "\"5min\"",
            ),
            (
                HOP.replace("\"5min\"", "5min"),
                "5: timeout: string values",
                "\"5min\"",
            ),
            (HOP.replace("5min", "300"), "5: timeout: ", "use 300s"),
            (HOP.replace("5min", "soon"), "5: timeout: ", "1h30m"),
            (HOP.replace("late_rst", "late"), "6: mode: ", "\"late_rst\""),
            (with("port = 0"), "7: port: ", "8080"),
            (with("port = 70000"), "7: port: ", "8080"),
            (with("port = \"80\""), "7: port: invalid type", "8080"),
            (with("kind = \"endpoint\""), "7: kind: ", "transparent"),
            (with("kind = [1]"), "7: kind: invalid type", "transparent"),
        ]
    }

    #[test]
    fn bytes_that_are_no_text_are_a_mistake_on_their_line() {
        let error = parse(b"# one\n# \xff\n", Path::new("c.toml")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "c.toml:2: not valid UTF-8; save the file as UTF-8"
        );
    }

    #[test]
    fn an_error_moves_no_cursor() {
        for text in [
            "\"\\u001b[2J\" = 1",
            "\u{1b}[2J",
            "[[hop]]\nname = \"\\u0007\"",
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, Path::new("c.toml"));
        }

        #[test]
        fn no_damaged_file_panics(at in 0_usize..100, gone in 0_usize..20, put in "\\PC{0,6}|[\\[\\]\"=\n\\\\']{0,6}") {
            let mut text = HOP.to_owned();
            let at = at.min(text.len());
            text.replace_range(at..(at + gone).min(text.len()), &put);
            if let Err(error) = read(&text) {
                prop_assert!(!error.contains(char::is_control), "{error:?}");
                prop_assert!(error.contains("; "), "{error}");
            }
        }
    }
}
