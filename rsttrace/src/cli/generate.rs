//! `rsttrace completions` and `rsttrace man`: what packages install, generated from the definition of the command line.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Failure};

/// Arguments of `rsttrace man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Command whose page to print; without it, the page of rsttrace itself
    command: Option<String>,
}

impl ManArgs {
    /// Fails if there is no such command.
    pub fn check(self) -> Result<Option<String>, Failure> {
        match self.command {
            Some(name) if subcommand(&name).is_none() => Err(Failure::Usage(format!(
                "there is no command `{name}`; `rsttrace --help` lists them"
            ))),
            command => Ok(command),
        }
    }
}

/// Prints the completions for a shell to standard output.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rsttrace", &mut text);
    Ok(std::io::stdout().write_all(&text)?)
}

/// Prints a man page (roff) to standard output.
pub fn man(command: Option<&str>) -> Result<(), Failure> {
    let page = command.and_then(subcommand).unwrap_or_else(Cli::command);
    let mut text = Vec::new();
    Man::new(page).render(&mut text)?;
    Ok(std::io::stdout().write_all(&text)?)
}

/// The command of this name, called `rsttrace-NAME` as its page is.
fn subcommand(name: &str) -> Option<clap::Command> {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand(name).filter(|it| !it.is_hide_set())?;
    Some(command.clone().name(format!("rsttrace-{name}")))
}
