//! What is run in a guest?

use std::time::Duration;

/// A command line with a name and a limit.
pub struct Step {
    /// A file name, too: what it prints goes there.
    pub name: &'static str,
    /// For /bin/sh, in the folder of this repository.
    pub script: String,
    /// After that the guest is ended.
    pub limit: Duration,
    /// Show what it prints while it runs.
    pub shown: bool,
}

impl Step {
    /// What a developer asked for.
    pub fn command(words: &[String], seconds: u64) -> Self {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        Self {
            name: "command",
            script: format!("exec {}\n", words.join(" ")),
            limit: Duration::from_secs(seconds),
            shown: true,
        }
    }
}

/// One word for a shell, whatever is in it.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        let words = ["sh", "-c", "echo 'a  b' \"$0\""].map(str::to_owned);
        let step = Step::command(&words, 1);
        assert_eq!(step.script, "exec 'sh' '-c' 'echo '\\''a  b'\\'' \"$0\"'\n");
    }
}
