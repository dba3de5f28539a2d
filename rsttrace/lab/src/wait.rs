//! Waiting for a condition.

use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// Far longer than any step takes; only a failed staging waits that long.
pub const LIMIT: Duration = Duration::from_secs(3);

/// Asks until there is an answer; ETIMEDOUT after [`LIMIT`].
pub fn poll<T>(ask: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    poll_for(LIMIT, ask)
}

/// Asks until there is an answer; ETIMEDOUT after `limit`.
pub fn poll_for<T>(
    limit: Duration,
    mut ask: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(Errno::ETIMEDOUT.into());
        }
        std::thread::sleep(INTERVAL);
    }
}

const INTERVAL: Duration = Duration::from_micros(300);
