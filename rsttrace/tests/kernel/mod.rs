//! Common parts of the kernel tests: private namespaces, the real binary, resets to provoke.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unused_imports, reason = "as above")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod account;
mod barrage;
mod frames;
mod link;
mod namespace;
mod server;
mod traffic;
mod watch;

use std::time::{Duration, Instant};

pub use account::{Run, is_sent_by_the_stack};
pub use barrage::{sustain, syn, volley};
pub use frames::{ACK, RST, Wire, addresses, ethernet, ipv4, ipv6, tcp};
pub use link::{FAR, FAR_TOO, Link, NEAR, NEAR_TOO, connected_from};
pub use namespace::{
    Namespace, Route, connect, netns_inode, out_resets_by_namespace, private_namespace, run, sh,
};
pub use server::{Server, Started, tcp_table};
pub use traffic::{
    abort, await_refusal, await_reset, close_with_linger_zero, close_with_unread_data, closed_port,
    connected_pair, end_burst, end_unread,
};
pub use watch::{Ended, KernelTotal, Watch, rsttrace};

/// Far longer than anything takes, also on a loaded machine or in software emulation; only a failing test waits so long.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Asks until the answer is there.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, ask)
}

/// The same, in this time.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
