//! How does a command end: which exit code, which sentence?

use std::io;

use thiserror::Error;

/// The exit codes that the documentation promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line, or the configuration file, makes no sense.
    Usage = 2,
    /// A right is missing.
    NotPermitted = 3,
    /// This kernel cannot do it.
    NotSupported = 4,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command ended early. Each message is one sentence and the next step.
#[derive(Debug, Error)]
pub enum Failure {
    /// Something went wrong on the way.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// The command line, or the configuration file, makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A right is missing; names it.
    #[error("{0}")]
    NotPermitted(String),
    /// This kernel cannot do it; names what is missing.
    #[error("{0}")]
    NotSupported(String),
}

impl Failure {
    /// The exit code it stands for.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::Failed,
            Self::Usage(_) => ExitCode::Usage,
            Self::NotPermitted(_) => ExitCode::NotPermitted,
            Self::NotSupported(_) => ExitCode::NotSupported,
        }
    }

    /// Whoever read our output has gone (`rsttrace | head -1`): no error.
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
