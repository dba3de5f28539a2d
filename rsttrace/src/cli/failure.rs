//! Exit codes and the errors behind them.

use std::io;

use thiserror::Error;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Success.
    Done = 0,
    /// Failure at run time.
    Failed = 1,
    /// Invalid arguments or configuration.
    Usage = 2,
    /// Missing capability or file permission.
    NotPermitted = 3,
    /// Kernel not supported.
    NotSupported = 4,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// The error that ends a command. Each message is one sentence and the next step.
#[derive(Debug, Error)]
pub enum Failure {
    /// Failure at run time.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// Invalid arguments or configuration.
    #[error("{0}")]
    Usage(String),
    /// Missing capability or file permission, which the message names.
    #[error("{0}")]
    NotPermitted(String),
    /// Kernel not supported; the message says what is missing.
    #[error("{0}")]
    NotSupported(String),
}

impl Failure {
    /// The exit code of this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::Failed,
            Self::Usage(_) => ExitCode::Usage,
            Self::NotPermitted(_) => ExitCode::NotPermitted,
            Self::NotSupported(_) => ExitCode::NotSupported,
        }
    }

    /// Whether the reader of our output has exited (`rsttrace | head -1`), which is not an error.
    pub fn is_closed_pipe(&self) -> bool {
        let Self::Failed(error) = self else {
            return false;
        };
        error.chain().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            Failure::Failed(anyhow::anyhow!("x")).exit_code(),
            Failure::Usage("x".into()).exit_code(),
            Failure::NotPermitted("x".into()).exit_code(),
            Failure::NotSupported("x".into()).exit_code(),
        ];
        assert_eq!(codes.map(|code| code as u8), [1, 2, 3, 4]);
    }

    #[test]
    fn a_closed_pipe_is_recognised_under_its_context() {
        let error: Result<(), _> = Err(io::Error::from(io::ErrorKind::BrokenPipe));
        let failure = Failure::from(error.context("write the record").unwrap_err());
        assert!(failure.is_closed_pipe());
        assert!(!Failure::Usage("Broken pipe".into()).is_closed_pipe());
    }

    #[test]
    fn the_message_names_every_cause() {
        let failure = Failure::from(anyhow::anyhow!("no such file").context("open the store"));
        assert_eq!(failure.to_string(), "open the store: no such file");
    }
}
