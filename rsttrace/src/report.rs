//! What does a trace say on one page?
//!
//! [`Gathering`] takes outputs one by one, from whatever source, and keeps sums and the worst records; [`page`] makes of
//! that one HTML file that needs nothing else. Both are pure: the time of writing is given, equal input gives equal pages.

mod chains;
mod finding;
mod gather;
mod page;
pub mod quiet;
mod sentence;
pub mod source;
mod tally;
pub mod timeline;

use jiff::Timestamp;

pub use gather::Gathering;
pub use page::page;

/// What the page says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Where the records come from: a file's name, `standard input`, `the store`.
    pub source: String,
    /// When the page was made.
    pub generated: Timestamp,
    /// Events lost before they were judged; absent if the source does not tell.
    pub lost: Option<u64>,
    /// What of the source could not be read.
    pub unread: Unread,
}

/// Lines or blocks of a source that are no records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many.
    pub count: u64,
    /// The first of them, each with its place: `line 7: not JSON: …`.
    pub first: Vec<String>,
}

/// Of [`Unread::first`].
const MOST_NAMED: usize = 10;

impl Unread {
    /// One more, and why.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push(what());
        }
    }
}
