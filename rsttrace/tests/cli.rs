//! What scripts rely on: exit codes, which stream says what, and no complaint when a reader goes away.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

fn rsttrace(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsttrace"));
    command.args(arguments.split_whitespace());
    command.env_remove("RUST_LOG");
    command
}

fn run(arguments: &str) -> Output {
    rsttrace(arguments).output().unwrap()
}

#[test]
fn bad_usage_is_2_and_says_what_would_do() {
    let mut wrong = Vec::new();
    for (arguments, next) in [
        ("--buffer 3MiB", "4MiB"),
        ("--duration 20", "20s"),
        ("watch --duration soon", "500ms"),
        ("--every --details 5", "cannot be used with"),
        ("--details 0", "1..=10000"),
        ("--cause bad_luck", "port_closed"),
        ("--port http", "443"),
        ("--address example.org", "10.0.3.0/24"),
        ("--netns no-such-namespace", "ip netns"),
        ("--interface lo --no-loopback", "remove one of them"),
        ("--metrics 9464", "127.0.0.1:9464"),
        ("--metrics localhost:9464", "127.0.0.1:9464"),
        ("--metrics 127.0.0.1:70000", "127.0.0.1:9464"),
        ("--metrics 192.0.2.1:9464", "`ip address`"),
        ("--metrics-file no-such-folder/x.prom", "create it"),
        ("--metrics-file src", "use one like"),
        ("--metrics-file new/", "use one like"),
        ("--pcapng no-such-folder/x.pcapng", "existing directory"),
        ("--pcapng Cargo.toml", "--force"),
        ("--record new.rst --pcapng new.rst", "use another file"),
        ("--store new.db --record new.db-wal", "use another file"),
        ("--config no-such-file.toml", "remove --config"),
        ("--config Cargo.toml", "only [[hop]]"),
        ("--config x --no-config", "cannot be used with"),
        ("config check no-such-file.toml", "use an existing one"),
        ("config check Cargo.toml", "only [[hop]]"),
        ("config show Cargo.toml", "only [[hop]]"),
        ("config check --all", "remove it"),
        ("config", "<ACTION>"),
        ("--keep 3d", "--store"),
        ("--store --keep 3", "3d"),
        ("--store --keep-size 1k", "256MiB"),
        ("history --since yesterday", "2h"),
        ("history --since 1h --until 2h", "--until"),
        ("history --peer example.org", "10.0.3.0/24"),
        ("history --limit 0", "1 or more"),
        ("history --histogram -o json", "cannot be used with"),
        ("demo --only a --require 2", "lower --require"),
        ("doctor --idle 60", "60s"),
        ("probe example.org", "HOST:PORT"),
        ("probe 2001:db8::1:80", "[2001:db8::1]:80"),
        ("probe a:1 --min 200ms", "--send"),
        ("probe a:1 --min 2m --max 1m", "raise --max"),
        (r"probe a:1 --send \q", r"\xHH"),
        ("report no-such-file.jsonl", "use a readable file"),
        ("report /dev/null -O no-such-folder/x.html", "create it"),
        ("report /dev/null -O src", "a file in it"),
        ("report /dev/null -O - --local 10.0.0.1", "remove it"),
        ("report src", "use a file in it"),
        ("report /dev/null -O Cargo.toml", "--force"),
        ("report Cargo.toml -O Cargo.toml --force", "--out"),
        ("--no-such-option", "--help"),
        ("no-such-command", "--help"),
        ("record", "<FILE>"),
        ("record Cargo.toml", "--force"),
        ("record no-such-folder/x", "create it"),
        ("record src", "use a file in it"),
        ("watch --record Cargo.toml", "--force"),
        ("watch --force", "--record"),
        ("replay no-such-file", "rsttrace record"),
        ("replay", "<FILE>"),
    ] {
        let output = run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code();
        if code != Some(2) || !error.contains(next) || !output.stdout.is_empty() {
            wrong.push(format!("{arguments}: {code:?}, without `{next}`: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_configuration_is_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    let name = file.display();
    let text =
        "[watch]\nnot-port = [22, '8000-8999']\nmetrics = '127.0.0.1:9464'\n[store]\nkeep = '1d'\n";
    std::fs::write(&file, text).unwrap();
    let check = || run(&format!("config check {name}"));
    let output = check();
    assert_eq!(output.status.code(), Some(0));
    let said = format!("{name}: valid, 0 hops, a history, 2 options of watch\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
    let shown = run(&format!("config show {name}")).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let expected = format!(
        "# read: {name}\n\n[store]\nkeep = '1d'  # {name}:5\n\n\
         [watch]\nnot-port = [22, '8000-8999']  # {name}:2\nmetrics = '127.0.0.1:9464'  # {name}:3\n"
    );
    assert_eq!(shown, expected);
    // With the keys that are not set, it is a valid file as well.
    let all = run(&format!("config show {name} --all")).stdout;
    std::fs::write(&file, &all).unwrap();
    assert_eq!(check().status.code(), Some(0));
    let all = String::from_utf8(all).unwrap();
    assert!(all.contains("\n#buffer = \"4MiB\"  # default\n"), "{all}");
    assert!(all.contains("\n#record = \"FILE\"  # not set\n"), "{all}");

    std::fs::write(&file, "[watch]\nmetrics = '9464'\n").unwrap();
    let output = check();
    assert_eq!((output.status.code(), output.stdout), (Some(2), Vec::new()));
    let error = String::from_utf8(output.stderr).unwrap();
    let begin = format!("rsttrace: {name}:2: metrics: invalid value \"9464\"; ");
    assert!(
        error.starts_with(&begin) && error.contains("127.0.0.1:9464"),
        "{error}"
    );
}

#[test]
fn what_is_read_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    for (command, sample) in [
        ("replay", RECORDING),
        ("pcap", "tests/data/captures/cut.pcapng"),
    ] {
        let input = folder.path().join(command);
        std::fs::copy(sample, &input).unwrap();
        let link = folder.path().join(format!("{command}-link"));
        std::fs::hard_link(&input, &link).unwrap();
        for output in [&input, &link] {
            for force in ["", "--force"] {
                let arguments = format!(
                    "{command} {} --pcapng {} {force}",
                    input.display(),
                    output.display()
                );
                let output = run(&arguments);
                let error = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(2), "{arguments}: {error}");
                assert!(error.contains("use another file"), "{arguments}: {error}");
            }
        }
        assert_eq!(
            std::fs::read(&input).unwrap(),
            std::fs::read(sample).unwrap()
        );
        // What is something else is replaced if that is asked for.
        let other = folder.path().join("other");
        std::fs::write(&other, "old").unwrap();
        let to_other = format!("{command} {} --pcapng {}", input.display(), other.display());
        assert_eq!(run(&to_other).status.code(), Some(2));
        assert_eq!(std::fs::read(&other).unwrap(), b"old");
        assert_eq!(run(&format!("{to_other} --force")).status.code(), Some(0));
        assert!(
            std::fs::read(&other)
                .unwrap()
                .starts_with(b"\x0a\x0d\x0d\x0a")
        );
    }
}

#[test]
fn help_version_and_schema_are_data_on_standard_output() {
    for arguments in [
        "--help",
        "-h",
        "--version",
        "watch --help",
        "demo --help",
        "doctor --help",
        "probe --help",
        "record --help",
        "replay --help",
        "schema",
        "completions bash",
        "man",
        "man watch",
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert!(!output.stdout.is_empty(), "{arguments}");
        assert!(output.stderr.is_empty(), "{arguments}");
    }
}

const RECORDING: &str = "tests/data/kernels/6.18/events.rst";

#[test]
fn a_recording_is_replayed_without_rights() {
    let output = run(&format!("replay -o json --noise {RECORDING}"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().count() > 300, "{}", lines.lines().count());
    let again = run(&format!("replay -o json --noise {RECORDING}")).stdout;
    assert!(lines.as_bytes() == again);
    let some = run(&format!("replay --noise --count 3 {RECORDING}"));
    let stderr = String::from_utf8(some.stderr).unwrap();
    assert!(stderr.contains("stopped after --count"), "{stderr}");
}

#[test]
fn a_recording_that_is_cut_is_0_and_one_that_is_damaged_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.rst");
    let whole = std::fs::read("tests/data/kernels/6.12/events.rst").unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let cut = &whole[..whole.len() - 1];
    for (bytes, code, says) in [
        (cut, 0, "it ends at byte"),
        (&damaged, 1, "it is damaged from byte"),
        (b"not one", 1, "`rsttrace record FILE` makes one"),
        (b"", 1, "`rsttrace record FILE` makes one"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let output = run(&format!("replay {}", file.display()));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[test]
fn completions_and_man_pages_know_the_options_and_hide_what_help_hides() {
    for arguments in [
        "completions bash",
        "completions zsh",
        "completions fish",
        "man watch",
    ] {
        let text = String::from_utf8(run(arguments).stdout).unwrap();
        let text = text.replace(r"\-", "-");
        assert!(text.contains("severity"), "{arguments}: {text}");
        assert!(!text.contains("demo-actor"), "{arguments}: {text}");
    }
    let man = String::from_utf8(run("man").stdout).unwrap();
    assert!(man.contains(".TH rsttrace 1"), "{man}");
    assert!(
        man.contains(r"debug\-probes") && !man.contains(r"empty\-probes"),
        "{man}"
    );
    let wrong = run("man nothing");
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn the_long_version_says_what_other_tools_depend_on() {
    let text = String::from_utf8(run("--version").stdout).unwrap();
    assert!(
        text.contains("rsttrace.reset.v1") && text.contains("recordings version 3"),
        "{text}"
    );
    let short = String::from_utf8(run("-V").stdout).unwrap();
    assert_eq!(short, format!("rsttrace {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_slice(&run("schema").stdout).unwrap();
    assert_eq!(schema["title"], "rsttrace.reset.v1");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for arguments in ["schema", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = rsttrace(arguments)
            .stdout(Stdio::from(writer))
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}");
        assert!(output.stderr.is_empty(), "{arguments}");
    }
}

/// As whoever runs the tests, but never as root.
fn run_unprivileged(arguments: &str) -> Output {
    const NOBODY: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("rsttrace");
    // Not by this process: what other tests start meanwhile would hold it open for writing, and it could not be run.
    let copied = Command::new("cp")
        .args([env!("CARGO_BIN_EXE_rsttrace").as_ref(), binary.as_os_str()])
        .status();
    assert!(copied.unwrap().success());
    for path in [directory.path(), &binary] {
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, everybody).unwrap();
    }
    let mut command = Command::new(&binary);
    command.args(arguments.split_whitespace());
    command.env_remove("RUST_LOG");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

#[test]
fn metrics_that_cannot_be_had_end_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = run(&format!("--metrics {address}"));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("use another port"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(folder.path(), closed).unwrap();
    let file = folder.path().join("x.prom");
    let output = run_unprivileged(&format!("watch --metrics-file {}", file.display()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("run as root, or use a directory"), "{error}");
    assert!(!file.exists());
}

#[test]
fn a_history_that_cannot_be_had_says_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(
        path("text"),
        "no history, but long enough for one. ".repeat(99),
    )
    .unwrap();
    for (arguments, name, code, next) in [
        ("history --store", "missing", 1, "watch --store"),
        ("history --store", "text", 2, "use another file"),
        ("watch --store", "text", 2, "use another file"),
        ("history --store", ".", 2, "use another file"),
    ] {
        let output = run(&format!("{arguments} {}", path(name).display()));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments} {name}: {error}"
        );
        assert!(error.contains(next), "{arguments} {name}: {error}");
        assert!(output.stdout.is_empty());
    }
    assert!(!path("missing").exists());
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(path("text"), closed).unwrap();
    let output = run_unprivileged(&format!("history --store {}", path("text").display()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(
        error.contains("run as root, or make the file readable"),
        "{error}"
    );
}

#[test]
fn without_rights_the_doctor_names_what_is_missing_and_checks_the_rest() {
    let output = run_unprivileged("doctor -o json");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "rsttrace.doctor.v1");
    // What is wrong with this machine is not known here; that the exit code says so, is.
    let code = if report["result"] == "wrong" { 1 } else { 0 };
    assert_eq!(output.status.code(), Some(code), "{error}");
    let findings = report["findings"].as_array().unwrap();
    let rights = findings
        .iter()
        .find(|finding| finding["kind"] == "tracing_not_permitted")
        .unwrap();
    assert_eq!(rights["severity"], "advice");
    assert!(rights["summary"].as_str().unwrap().contains("CAP_BPF"));
    assert!(report["settings"]["keepalive"]["time"].is_u64());
    assert_eq!(report["not_checked"][0]["what"], "hooks");
    let table = run_unprivileged("doctor --idle 10m");
    assert_eq!(table.status.code(), Some(code));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("CAP_BPF") && table.contains("keepalive"),
        "{table}"
    );
}

#[test]
fn a_report_says_which_lines_are_no_records_and_fails_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("resets.jsonl");
    let sum = include_str!("data/suppressed.json").replace('\n', "");
    std::fs::write(&lines, format!("hello\n{sum}\n")).unwrap();
    let out = folder.path().join("page.html");
    let output = rsttrace("report")
        .args([lines.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(error.contains("line 1: not JSON"), "{error}");
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("line 1: not JSON"));

    std::fs::write(&lines, "hello\nworld\n").unwrap();
    let output = rsttrace("report").args([&lines]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("none of 2 lines is a record") && error.contains("-o json"),
        "{error}"
    );
}

/// A page of a file, in a folder.
fn report(arguments: &[&std::ffi::OsStr]) -> (Option<i32>, String) {
    let output = rsttrace("report").args(arguments).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), error)
}

#[test]
fn a_report_never_replaces_what_it_is_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let [lines, link] = ["resets.jsonl", "link"].map(|name| folder.path().join(name));
    let sum = include_str!("data/suppressed.json").replace('\n', "");
    std::fs::write(&lines, &sum).unwrap();
    std::fs::hard_link(&lines, &link).unwrap();
    for out in [&lines, &link] {
        let out = out.as_os_str();
        let (code, error) = report(&[lines.as_os_str(), "-O".as_ref(), out, "--force".as_ref()]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("--out"), "{error}");
    }
    let input = std::fs::File::open(&lines).unwrap();
    let output = rsttrace("report - --force -O")
        .arg(&lines)
        .stdin(input)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&lines).unwrap(), sum);
}

#[test]
fn a_pipe_without_a_writer_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let commands = [
        "history --store",
        "report -O -",
        "replay",
        "pcap",
        "watch --config",
    ];
    let commands = commands.map(|command| {
        let child = rsttrace(command)
            .arg(&pipe)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        (command, child.unwrap())
    });
    // One that waits for ever ends with the time limit of the tests.
    for (command, child) in commands {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}: {error}");
        let says = if command.starts_with("history") {
            "not a history"
        } else {
            "the pipe has no writer"
        };
        assert!(error.contains(says), "{command}: {error}");
    }
}

#[test]
fn a_report_replaces_a_page_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let [lines, out] = ["resets.jsonl", "x.html"].map(|name| folder.path().join(name));
    let record = include_str!("data/records/port_closed.json").replace('\n', "");
    std::fs::write(&lines, record).unwrap();
    let arguments = [lines.as_os_str(), "-O".as_ref(), out.as_os_str()];
    for _ in 0..2 {
        let (code, error) = report(&arguments);
        assert_eq!(code, Some(0), "{error}");
        assert!(error.contains("1 reset in"), "{error}");
    }
    std::fs::write(&out, "notes of mine").unwrap();
    let (code, error) = report(&arguments);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--force"), "{error}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "notes of mine");
    let forced = [&arguments[..], &["--force".as_ref()]].concat();
    assert_eq!(report(&forced).0, Some(0));
    assert!(
        std::fs::read_to_string(&out)
            .unwrap()
            .starts_with("<!DOCTYPE")
    );
}

#[test]
fn a_capture_of_which_headers_are_cut_off_is_not_called_understood() {
    // Frames of Ethernet, of which 40 bytes were kept.
    let whole = std::fs::read("tests/data/captures/ethernet.pcap").unwrap();
    let mut cut = whole[..24].to_vec();
    let mut rest = &whole[24..];
    let length = |bytes: &[u8]| u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    assert_eq!(whole[..2], [0xd4, 0xc3]);
    while rest.len() > 16 {
        let captured = length(rest);
        let kept = captured.min(40);
        cut.extend(&rest[..8]);
        cut.extend((kept as u32).to_le_bytes());
        cut.extend(&rest[12..16 + kept]);
        rest = &rest[16 + captured..];
    }
    let folder = tempfile::tempdir().unwrap();
    let [file, out] = ["cut.pcap", "x.html"].map(|name| folder.path().join(name));
    std::fs::write(&file, cut).unwrap();
    let (code, error) = report(&[file.as_os_str(), "-O".as_ref(), out.as_os_str()]);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        error.contains("frames truncated before the end of the TCP header"),
        "{error}"
    );
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains("frames truncated before the end of the TCP header"));
    assert!(!page.contains("was understood"));
}

#[test]
fn a_recording_that_breaks_off_says_so_on_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let [file, out] = ["cut.rst", "x.html"].map(|name| folder.path().join(name));
    let whole = std::fs::read("tests/data/kernels/6.12/events.rst").unwrap();
    std::fs::write(&file, &whole[..whole.len() - 20]).unwrap();
    let (code, error) = report(&[file.as_os_str(), "-O".as_ref(), out.as_os_str()]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("before the trace did"), "{error}");
    let page = std::fs::read_to_string(&out).unwrap();
    assert!(page.contains("before the trace did"));
    assert!(!page.contains("was understood") && !page.contains("of the source"));
}

#[test]
fn sources_that_a_report_cannot_be_made_of_say_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let [history, packed] = ["history.db", "x.jsonl.gz"].map(|name| folder.path().join(name));
    std::fs::write(&history, b"SQLite format 3\0").unwrap();
    // `echo '{}' | gzip`
    let gzip = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 0xe5, 2, 0, 6, 0xb0, 0xa1, 0xdd, 3, 0, 0, 0,
    ];
    std::fs::write(&packed, gzip).unwrap();
    let out = folder.path().join("x.html");
    let (code, error) = report(&[packed.as_os_str(), "-O".as_ref(), out.as_os_str()]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("decompress it first"), "{error}");
    let output = rsttrace("report - -O -")
        .stdin(std::fs::File::open(&history).unwrap())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("rsttrace report FILE"), "{error}");
    assert!(!out.exists());
}

#[test]
fn a_report_of_a_capture_is_told_whose_it_is() {
    let page = |local: &str| {
        let output = rsttrace("report tests/data/captures/cut.pcapng -O -")
            .args((!local.is_empty()).then(|| format!("--local={local}")))
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(page("").contains("(--local names its addresses)"));
    assert!(!page("10.0.0.2").contains("(--local names its addresses)"));
}
