//! `[watch]` in the configuration file: its keys are the long options of `rsttrace watch`, with their parsers and conflicts.
//!
//! The settings become arguments in front of those of the command line. An option of the command line replaces that of the file,
//! and those in conflict with it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};

use super::watch::WatchArgs;
use super::{Failure, WatchOptions};
use crate::config::{self, Config, ConfigError, Setting, Unset, Value};

/// Validates the options of `watch`: those of its command line, and those of the configuration file that it does not have.
/// `line`: the arguments after the command.
pub(super) fn watch(
    args: WatchArgs,
    given: &ArgMatches,
    line: &[OsString],
) -> Result<WatchOptions, Failure> {
    let config = args.load_config()?;
    if config.watch.is_empty() {
        return args.check(&config);
    }
    let command = command();
    let options = options(&config, &command)?;
    let is_given =
        |arg: &Arg| given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let given: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| is_given(arg))
        .collect();
    let is_replaced = |option: &FileOption<'_>| {
        let mut given = given.iter();
        given.any(|by| excludes(&command, by, option.arg) || contradicts(by, option))
    };
    let used = options.iter().filter(|option| !is_replaced(option));
    let used: Vec<_> = used.collect();
    let words = used.iter().flat_map(|option| option.words.iter().cloned());
    let matches = command
        .clone()
        .try_get_matches_from(words.chain(line.iter().cloned()))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let merged = parsed(&matches)?.check(&config);
    let mut merged = merged.map_err(|failure| about_files(failure, &used))?;
    merged.metrics.is_configured = used.iter().any(|option| option.setting.key == "metrics");
    Ok(merged)
}

/// Validates what the files say. Returns the keys of `[watch]` that later files leave in effect.
pub(super) fn check(config: &Config) -> Result<Vec<String>, Failure> {
    let command = command();
    let options = options(config, &command)?;
    let words = options
        .iter()
        .flat_map(|option| option.words.iter().cloned());
    let matches = command.clone().try_get_matches_from(words);
    let matches = matches.map_err(|error| Failure::Usage(error.to_string()))?;
    let checked = parsed(&matches)?.check(config);
    let used: Vec<_> = options.iter().collect();
    checked.map_err(|failure| about_files(failure, &used))?;
    let keys = used.iter().map(|option| option.setting.key.clone());
    Ok(keys.collect())
}

/// The keys that may be set, with their defaults.
pub(super) fn keys() -> Vec<Unset> {
    let command = command();
    let keys = command.get_arguments().filter(|arg| !arg.is_hide_set());
    keys.filter_map(|arg| {
        let key = arg.get_long()?;
        refusal(key).is_none().then(|| Unset {
            key: key.to_owned(),
            toml: example(arg),
            is_default: is_flag(arg) || !arg.get_default_values().is_empty(),
        })
    })
    .collect()
}

/// The options of `watch`, without a program's name in front.
fn command() -> Command {
    let mut command = WatchArgs::augment_args(Command::new("rsttrace").no_binary_name(true));
    command.build();
    command
}

fn parsed(matches: &ArgMatches) -> Result<WatchArgs, Failure> {
    WatchArgs::from_arg_matches(matches).map_err(|error| Failure::Usage(error.to_string()))
}

/// A setting as arguments.
struct FileOption<'a> {
    setting: &'a Setting,
    arg: &'a Arg,
    /// None for a flag that is false and for an empty list.
    words: Vec<OsString>,
}

/// Looks up the keys, and checks each value and whether they go together. In a conflict between files the later one wins.
fn options<'a>(
    config: &'a Config,
    command: &'a Command,
) -> Result<Vec<FileOption<'a>>, ConfigError> {
    let mut parser = command.clone();
    let settings = config.watch.iter();
    let options: Result<Vec<_>, _> = settings
        .map(|setting| option(setting, command, &mut parser))
        .collect();
    let options = without_replaced(options?, config, command);
    let in_use = || options.iter().filter(|option| !option.words.is_empty());
    for option in in_use() {
        let contrary = in_use().find(|other| {
            other.setting.key != option.setting.key && excludes(command, option.arg, other.arg)
        });
        if let Some(other) = contrary {
            return Err(option.setting.error(&format!(
                "cannot be used with {} ({}:{}); remove one of them",
                other.setting.key,
                other.setting.place.file.display(),
                other.setting.place.line
            )));
        }
    }
    Ok(options)
}

/// Without the options that one of a later file replaces.
fn without_replaced<'a>(
    options: Vec<FileOption<'a>>,
    config: &Config,
    command: &Command,
) -> Vec<FileOption<'a>> {
    let rank = |option: &FileOption<'_>| {
        let mut files = config.files.iter();
        files.position(|file| *file == option.setting.place.file)
    };
    let is_replaced = |option: &FileOption<'_>| {
        options.iter().any(|by| {
            !by.words.is_empty()
                && rank(by) > rank(option)
                && (excludes(command, by.arg, option.arg) || contradicts(by.arg, option))
        })
    };
    let replaced: Vec<bool> = options.iter().map(is_replaced).collect();
    let options = options.into_iter().zip(replaced);
    options
        .filter_map(|(option, is_replaced)| (!is_replaced).then_some(option))
        .collect()
}

/// `parser`: a copy of the command.
fn option<'a>(
    setting: &'a Setting,
    command: &'a Command,
    parser: &mut Command,
) -> Result<FileOption<'a>, ConfigError> {
    let key = setting.key.as_str();
    if let Some(reason) = refusal(key) {
        return Err(setting.error(reason));
    }
    let longs = || command.get_arguments().filter_map(Arg::get_long);
    let Some(arg) = command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(key))
    else {
        let allowed = longs().filter(|long| refusal(long).is_none());
        return Err(setting.error(&match config::nearest(key, allowed) {
            Some(name) => format!("unknown option; did you mean `{name}`?"),
            None => "unknown option; the keys of [watch] are the options of `rsttrace watch --help`, without the dashes".to_owned(),
        }));
    };
    let words = words(setting, arg)?;
    for word in &words {
        let tried = parser.try_get_matches_from_mut([word]);
        tried.map_err(|error| setting.error(&problem(&error, arg)))?;
    }
    Ok(FileOption {
        setting,
        arg,
        words,
    })
}

/// Why an option makes no sense in a file.
fn refusal(key: &str) -> Option<&'static str> {
    match key {
        "config" | "no-config" => Some(
            "not possible in a configuration file; put further files into /etc/rsttrace/config.d",
        ),
        "help" | "version" => Some("not possible in a configuration file; remove it"),
        "store" => Some(
            "not possible in [watch]; use a [store] table with file = \"/var/lib/rsttrace/history.db\", which `rsttrace history` reads, too",
        ),
        "keep" | "keep-size" => Some(
            "not possible in [watch]; move it to the [store] table, for example keep = \"7d\" or keep-size = \"256MiB\"",
        ),
        _ => None,
    }
}

/// The arguments of a setting.
fn words(setting: &Setting, arg: &Arg) -> Result<Vec<OsString>, ConfigError> {
    let key = &setting.key;
    let flag = || OsString::from(format!("--{key}"));
    let wrong = |value: &Value| {
        let (expected, next) = match arg.get_action() {
            ArgAction::SetTrue => ("true or false", "use true or false".to_owned()),
            ArgAction::Count => (
                "a number from 0 to 255",
                format!("use a number, for example {key} = 1"),
            ),
            ArgAction::Append => (
                "a list of values",
                format!("for example {key} = {}", example(arg)),
            ),
            _ => ("a value", format!("for example {key} = {}", example(arg))),
        };
        let found = match value {
            Value::Boolean(true) => "true".to_owned(),
            Value::Boolean(false) => "false".to_owned(),
            Value::Scalar(text) => format!("{text:?}"),
            Value::List(_) if matches!(arg.get_action(), ArgAction::Append) => {
                "a list in a list".to_owned()
            }
            Value::List(_) => "a list".to_owned(),
            Value::Other(kind) => (*kind).to_owned(),
        };
        setting.error(&format!("expected {expected}, found {found}; {next}"))
    };
    let word = |value: &Value| match value {
        Value::Scalar(text) => Ok(OsString::from(format!("--{key}={text}"))),
        Value::Boolean(_) | Value::List(_) | Value::Other(_) => Err(wrong(value)),
    };
    match (arg.get_action(), &setting.value) {
        (ArgAction::SetTrue, Value::Boolean(true)) => Ok(vec![flag()]),
        (ArgAction::SetTrue, Value::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, value) => Err(wrong(value)),
        (ArgAction::Count, Value::Scalar(text)) => match text.parse::<u8>() {
            Ok(times) => Ok(vec![flag(); times.into()]),
            Err(_) => Err(wrong(&setting.value)),
        },
        (ArgAction::Count, value) => Err(wrong(value)),
        (ArgAction::Append, Value::List(values)) => values.iter().map(word).collect(),
        (_, value) => Ok(vec![word(value)?]),
    }
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count)
}

/// A value in TOML: the default, else a possible one, else what a value looks like.
fn example(arg: &Arg) -> String {
    match arg.get_action() {
        ArgAction::SetTrue => return "false".to_owned(),
        ArgAction::Count => return "0".to_owned(),
        _ => {}
    }
    let default = arg.get_default_values().first();
    let default = default.map(|value| value.to_string_lossy().into_owned());
    let possible = || Some(arg.get_possible_values().first()?.get_name().to_owned());
    let looks = || Some(arg.get_value_names()?.first()?.to_string());
    let value = default.or_else(possible).or_else(looks).unwrap_or_default();
    let value = match value.parse::<u64>() {
        Ok(_) => value,
        Err(_) => format!("\"{value}\""),
    };
    match arg.get_action() {
        ArgAction::Append => format!("[{value}]"),
        _ => value,
    }
}

/// Whether the option `by` leaves no room for `arg`: it is the same one, or in conflict with it.
fn excludes(command: &Command, by: &Arg, arg: &Arg) -> bool {
    let conflicts = |one, other: &Arg| {
        let with = command.get_arg_conflicts_with(one);
        with.iter().any(|it| it.get_id() == other.get_id())
    };
    by.get_id() == arg.get_id() || conflicts(by, arg) || conflicts(arg, by)
}

/// Whether the options are `--interface lo` and `--no-loopback`. Their conflict depends on the value, so clap does not know it.
fn contradicts(by: &Arg, option: &FileOption<'_>) -> bool {
    match (by.get_long(), option.setting.key.as_str()) {
        (Some("interface"), "no-loopback") => true,
        (Some("no-loopback"), "interface") => option.words.iter().any(|word| {
            let word = word.to_string_lossy();
            let names = word.split_once('=').map_or("", |(_, names)| names);
            names.split(',').any(|name| name == "lo")
        }),
        _ => false,
    }
}

/// What clap says about a value, on one line.
fn problem(error: &clap::Error, arg: &Arg) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let value = context(ContextKind::InvalidValue);
    let next = match (error.kind(), std::error::Error::source(error)) {
        (ErrorKind::ValueValidation, Some(reason)) => reason.to_string(),
        (ErrorKind::InvalidValue, _) if !context(ContextKind::ValidValue).is_empty() => {
            let suggested = context(ContextKind::SuggestedValue);
            let valid = context(ContextKind::ValidValue);
            if suggested.is_empty() {
                format!("use one of {valid}")
            } else {
                format!("did you mean \"{suggested}\"? Valid values: {valid}")
            }
        }
        _ => format!("use a value like {}", example(arg)),
    };
    format!("invalid value {value:?}; {next}")
}

/// An error that only the options of the file explain names them.
fn about_files(failure: Failure, used: &[&FileOption<'_>]) -> Failure {
    let Failure::Usage(message) = failure else {
        return failure;
    };
    let named = used
        .iter()
        .filter(|option| !option.words.is_empty())
        .filter(|option| message.contains(&format!("--{} ", option.setting.key)));
    let places: Vec<_> = named
        .map(|option| {
            let Setting { key, place, .. } = option.setting;
            format!("{key} is set in {}:{}", place.file.display(), place.line)
        })
        .collect();
    if places.is_empty() {
        return Failure::Usage(message);
    }
    Failure::Usage(format!("{message} ({})", places.join(", ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::{Request, WatchFormat, parse_from};

    /// The options with this `[watch]` table and these arguments.
    fn with(table: &str, arguments: &str) -> Result<WatchOptions, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[watch]\n{table}")).unwrap();
        let name = file.path().to_str().unwrap();
        let arguments = arguments.split_whitespace();
        let line = ["rsttrace", "watch", "--config", name];
        match parse_from(line.into_iter().chain(arguments)) {
            Ok(Request::Watch(mut options)) => {
                assert_eq!(
                    options.metrics.is_configured,
                    options.metrics.address.is_some()
                );
                options.metrics.is_configured = false;
                Ok(*options)
            }
            Ok(other) => panic!("watch expected, not {other:?}"),
            Err(failure) => {
                assert!(matches!(failure, Failure::Usage(_)), "{failure}");
                Err(failure.to_string().replace(name, "c.toml"))
            }
        }
    }

    fn arguments(arguments: &str) -> WatchOptions {
        let line = ["rsttrace", "--no-config"];
        let arguments = arguments.split_whitespace();
        match parse_from(line.into_iter().chain(arguments)).unwrap() {
            Request::Watch(options) => *options,
            other => panic!("watch expected, not {other:?}"),
        }
    }

    #[test]
    fn a_file_says_what_the_command_line_can() {
        for (table, line) in [
            ("", ""),
            ("every = true", "--every"),
            ("every = false", ""),
            ("details = 5\nverbose = 2", "--details 5 -vv"),
            ("details = \"5\"", "--details 5"),
            ("metrics = \"127.0.0.1:9464\"", "--metrics 127.0.0.1:9464"),
            ("interface = [\"eth0\", \"lo\"]", "--interface eth0,lo"),
            ("interface = \"eth0,lo\"", "--interface eth0,lo"),
            ("interface = []", ""),
            ("not-port = [22, \"8000-8999\"]", "--not-port 22,8000-8999"),
            (
                "output = \"json\"\nno-loopback = true",
                "-o json --no-loopback",
            ),
            ("record = \"-x\"\nforce = true", "--record=-x --force"),
            (
                "cause = \"stray_ack\"\nduration = \"1h30m\"",
                "--cause stray_ack --duration 1h30m",
            ),
        ] {
            assert_eq!(with(table, "").unwrap(), arguments(line), "{table}");
        }
    }

    #[test]
    fn the_command_line_replaces_what_the_file_says() {
        for (table, line, result) in [
            ("output = \"json\"", "-o table", "-o table"),
            ("port = [80, 443]", "--port 22", "--port 22"),
            ("port = [80]", "--not-port 22", "--port 80 --not-port 22"),
            ("verbose = 2", "-v", "-v"),
            ("noise = true", "--utc", "--noise --utc"),
            // In conflict with each other.
            ("every = true", "--details 5", "--details 5"),
            ("details = 5\nutc = true", "--every", "--every --utc"),
            ("output = \"table\"", "--json", "--json"),
            (
                "filter = \"port 80\"\nunit = \"nginx\"",
                "port 443",
                "--unit nginx port 443",
            ),
            (
                "interface = [\"eth0\", \"lo\"]",
                "--no-loopback",
                "--no-loopback",
            ),
            (
                "interface = \"eth0\"",
                "--no-loopback",
                "--interface eth0 --no-loopback",
            ),
            ("no-loopback = true", "--interface lo", "--interface lo"),
            // Needs one of the file.
            ("record = \"x\"", "--force", "--record x --force"),
        ] {
            assert_eq!(
                with(table, line).unwrap(),
                arguments(result),
                "{table} {line}"
            );
        }
    }

    #[test]
    fn a_later_file_replaces_what_it_is_in_conflict_with() {
        let parse = |text: &str, file: &str| {
            let text = format!("[watch]\n{text}");
            let mut config = config::parse(text.as_bytes(), Path::new(file)).unwrap();
            config.files.push(file.into());
            config
        };
        for (earlier, later, keys) in [
            ("details = 5", "every = true", &["every"][..]),
            ("every = true", "details = 5", &["details"]),
            ("details = 5", "every = false", &["details", "every"]),
            ("interface = \"lo\"", "no-loopback = true", &["no-loopback"]),
            ("utc = true", "every = true", &["utc", "every"]),
        ] {
            let mut config = parse(earlier, "a.toml");
            config.add(parse(later, "b.toml"));
            assert_eq!(check(&config).unwrap(), keys, "{earlier}, {later}");
        }
        let both = parse("details = 5\nevery = true", "a.toml");
        assert!(check(&both).is_err());
    }

    #[test]
    fn a_bare_command_line_has_the_options_of_the_file_and_no_config_has_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[watch]\noutput = 'json'\n[store]\n").unwrap();
        let name = file.path().to_str().unwrap();
        let Ok(Request::Watch(options)) = parse_from(["rsttrace", "--config", name, "--utc"])
        else {
            panic!("watch expected");
        };
        assert_eq!(options.show.output, Some(WatchFormat::Json));
        assert!(options.show.utc && options.store.is_some());
        assert!(parse_from(["rsttrace", "--config", name, "--no-config"]).is_err());
        // Other commands have the devices and the history only.
        let Ok(Request::Watch(record)) = parse_from(["rsttrace", "record", "x", "--config", name])
        else {
            panic!("record expected");
        };
        assert_eq!((record.show.output, record.store), (None, None));
    }

    #[test]
    fn each_mistake_has_its_line_its_key_and_a_next_step() {
        let mut wrong = Vec::new();
        for (table, says, next) in [
            ("evry = true", "c.toml:2: evry: unknown option", "`every`"),
            (
                "metrics_file = 1",
                "c.toml:2: metrics_file: unknown option",
                "`metrics-file`",
            ),
            ("xyzzy = 1", "c.toml:2: xyzzy: unknown option", "--help"),
            ("e = true", "c.toml:2: e: unknown option", ""),
            (
                "config = \"x\"",
                "c.toml:2: config: not possible",
                "config.d",
            ),
            (
                "no-config = true",
                "c.toml:2: no-config: not possible",
                "config.d",
            ),
            ("help = true", "c.toml:2: help: not possible", "remove it"),
            (
                "version = true",
                "c.toml:2: version: not possible",
                "remove it",
            ),
            ("store = true", "c.toml:2: store: not possible", "[store]"),
            (
                "keep = \"7d\"",
                "c.toml:2: keep: not possible",
                "keep = \"7d\"",
            ),
            (
                "utc = true\nevery = \"yes\"",
                "c.toml:3: every: expected true or false, found \"yes\"",
                "use true or false",
            ),
            (
                "every = 1",
                "c.toml:2: every: expected true or false, found \"1\"",
                "use true or false",
            ),
            (
                "verbose = true",
                "c.toml:2: verbose: expected a number from 0 to 255, found true",
                "use a number, for example verbose = 1",
            ),
            ("verbose = 300", "c.toml:2: verbose: ", "verbose = 1"),
            ("verbose = -1", "c.toml:2: verbose: ", "verbose = 1"),
            (
                "metrics = true",
                "c.toml:2: metrics: expected a value, found true",
                "\"ADDRESS:PORT\"",
            ),
            (
                "metrics = [1]",
                "c.toml:2: metrics: expected a value, found a list",
                "\"ADDRESS:PORT\"",
            ),
            (
                "metrics = 9464",
                "c.toml:2: metrics: invalid value \"9464\"",
                "127.0.0.1:9464",
            ),
            (
                "buffer = \"3MiB\"",
                "c.toml:2: buffer: invalid value \"3MiB\"",
                "4MiB",
            ),
            (
                "buffer = 4.5",
                "c.toml:2: buffer: expected a value, found a float",
                "\"4MiB\"",
            ),
            (
                "duration = 20",
                "c.toml:2: duration: invalid value \"20\"",
                "20s",
            ),
            (
                "details = 0",
                "c.toml:2: details: invalid value \"0\"",
                "1..=10000",
            ),
            (
                "output = \"jsn\"",
                "c.toml:2: output: invalid value \"jsn\"",
                "did you mean \"json\"?",
            ),
            (
                "cause = [\"port_closed\", \"x\"]",
                "c.toml:2: cause: invalid value \"x\"",
                "use one of close_with_unread_data",
            ),
            (
                "port = [[1]]",
                "c.toml:2: port: expected a list of values, found a list in a list",
                "[\"PORT\"]",
            ),
            (
                "port.of = 1",
                "c.toml:2: port: expected a list of values, found a table",
                "[\"PORT\"]",
            ),
            (
                "record = \"\"",
                "c.toml:2: record: invalid value \"\"",
                "\"FILE\"",
            ),
            (
                "details = 5\nevery = true",
                "c.toml:2: details: cannot be used with every (c.toml:3)",
                "remove one",
            ),
            (
                "force = true",
                "--force has no effect",
                "force is set in c.toml:2",
            ),
            (
                "interface = \"lo\"\nno-loopback = true",
                "--interface lo",
                "no-loopback is set in c.toml:3",
            ),
        ] {
            let error = with(table, "").err().unwrap_or_default();
            let is_right =
                error.starts_with(says) && error.contains(next) && error.lines().count() == 1;
            if !is_right {
                wrong.push(format!("{table}\n-> {error}, not {says} .. {next}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    #[test]
    fn an_error_moves_no_cursor() {
        for table in [
            "\"\\u001b[2J\" = 1",
            "port = \"\\u001b[2J\"",
            "output = \"\\u0007\"",
        ] {
            let error = with(table, "").unwrap_err();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn the_documented_examples_are_valid() {
        let pages = [
            include_str!("../../../docs/CONFIGURATION.md"),
            include_str!("../../../docs/SERVICE.md"),
        ];
        let examples = pages
            .iter()
            .flat_map(|page| page.split("```toml\n").skip(1));
        let examples = examples.map(|rest| rest.split("```").next().unwrap());
        let mut options = 0;
        for example in examples {
            let config = config::parse(example.as_bytes(), Path::new("c.toml")).unwrap();
            let checked = check(&config);
            assert!(checked.is_ok(), "{example}: {}", checked.unwrap_err());
            options += config.watch.len();
        }
        assert!(options > 6);
    }

    #[test]
    fn every_option_can_be_set_or_says_why_not() {
        let command = command();
        let keys: Vec<_> = command.get_arguments().filter_map(Arg::get_long).collect();
        assert!(
            keys.contains(&"metrics")
                && keys.contains(&"not-port")
                && keys.contains(&"owner-slots")
        );
        for key in keys {
            let config = |text: &str| {
                let text = format!("[watch]\n{key} = {text}");
                config::parse(text.as_bytes(), Path::new("c.toml")).unwrap()
            };
            if refusal(key).is_some() {
                continue;
            }
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(key))
                .unwrap();
            let value = match key {
                "metrics" => "\"127.0.0.1:1\"".to_owned(),
                "duration" => "\"1s\"".to_owned(),
                "filter" => "\"port 80\"".to_owned(),
                "count" | "owner-slots" | "port" | "not-port" | "process" | "not-process" => {
                    "1".to_owned()
                }
                "address" | "not-address" => "\"::1\"".to_owned(),
                "netns" | "not-netns" => "4026531840".to_owned(),
                _ => example(arg),
            };
            let config = config(&value);
            let options = options(&config, &command);
            assert!(options.is_ok(), "{}", options.err().unwrap());
        }
    }

    #[test]
    fn the_defaults_that_are_shown_are_those_of_the_options() {
        let keys = keys();
        let toml: String = keys
            .iter()
            .filter(|key| key.is_default && key.key != "details")
            .map(|key| format!("{} = {}\n", key.key, key.toml))
            .collect();
        assert!(toml.contains("buffer = \"4MiB\"\n"), "{toml}");
        assert_eq!(with(&toml, "").unwrap(), arguments(""));
        let details = keys.iter().find(|key| key.key == "details").unwrap();
        assert_eq!((details.toml.as_str(), details.is_default), ("20", true));
    }
}
