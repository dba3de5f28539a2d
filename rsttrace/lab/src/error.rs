//! Errors of staging.

use std::fmt::Display;

use nix::errno::Errno;

/// Why a scenario was not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// This machine lacks what the scenario needs; it proves nothing either way.
    #[error("not staged: {0}")]
    NotStaged(String),
    /// An actor's system call failed where it should not.
    #[error("{actor}: {errno} at {what}")]
    Refused {
        actor: String,
        /// The error's name, such as "ECONNRESET".
        errno: String,
        /// What it should do.
        what: String,
    },
    /// The staging went wrong: what was provoked is not what happened.
    #[error("staging failed: {0}")]
    Failed(String),
    /// The demo's own input or output failed.
    #[error("staging failed: {0}")]
    Io(#[from] std::io::Error),
}

impl StageError {
    /// Whether the machine lacks something, as opposed to a defect.
    pub fn is_not_staged(&self) -> bool {
        matches!(self, Self::NotStaged(_))
    }

    /// A system call of an actor, or in a place, failed.
    pub(super) fn refused(actor: &str, error: &std::io::Error, what: impl Display) -> Self {
        Self::Refused {
            actor: actor.to_owned(),
            errno: error_name(error),
            what: what.to_string(),
        }
    }

    /// The same refusal as "not staged", if it is one of these errors.
    pub(super) fn lacking(self, errnos: &[&str], what: &str) -> Self {
        match self {
            Self::Refused { errno, .. } if errnos.contains(&errno.as_str()) => {
                Self::NotStaged(format!("{what} ({errno})"))
            }
            other => other,
        }
    }
}

/// The name of an error: "ECONNRESET".
pub(super) fn error_name(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.to_string(),
    }
}
