//! The help texts.

use clap::CommandFactory as _;
use rsttrace::cli::Cli;

use super::assert_golden;

/// Without the blanks that clap leaves at the ends of lines.
fn trim(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn long_help(command: Option<&str>) -> String {
    let mut root = Cli::command().term_width(100);
    root.build();
    match command {
        None => trim(&root.render_long_help().to_string()),
        Some(name) => {
            let command = root.find_subcommand_mut(name).unwrap();
            trim(
                &command
                    .clone()
                    .term_width(100)
                    .render_long_help()
                    .to_string(),
            )
        }
    }
}

#[test]
fn long_help_of_each_command() {
    assert_golden("help/rsttrace.txt", &long_help(None));
    for command in [
        "watch", "record", "replay", "demo", "doctor", "probe", "history", "pcap", "report",
        "config", "explain", "schema",
    ] {
        assert_golden(&format!("help/{command}.txt"), &long_help(Some(command)));
    }
}

#[test]
fn short_help() {
    let mut command = Cli::command().term_width(100);
    assert_golden("help/short.txt", &trim(&command.render_help().to_string()));
}
