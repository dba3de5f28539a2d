//! HTML report of a trace.
//!
//! [`Gathering`] takes outputs one by one, from any source, and keeps sums and the worst records; [`page`] makes of
//! that one HTML file that needs nothing else. Both are pure: the time of writing is given, equal input gives equal pages.

mod aggregate;
mod chains;
mod page;
pub mod source;
mod tally;
pub mod timeline;

use jiff::Timestamp;

pub use aggregate::Gathering;
pub use page::{is_page, page};

/// What the page says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Where the records come from: a file's name, `standard input`, `the store`.
    pub source: String,
    /// When the page was made.
    pub generated: Timestamp,
    /// Events lost before they were judged; absent if the source does not say.
    pub lost: Option<u64>,
    /// What of the source could not be read.
    pub unread: Unread,
}

/// What of a source is not on the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Lines that are no records.
    pub lines: u64,
    /// The first of them, each with its place: `line 7: not JSON: …`.
    pub first: Vec<String>,
    /// Why the source ended before it was whole.
    pub early: Option<String>,
    /// What could not be read, understood or kept, by name, with how often.
    pub left_out: Vec<(String, u64)>,
}

/// Of [`Unread::first`].
const MOST_NAMED: usize = 10;

impl Unread {
    /// One more line, and why.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        self.lines += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push(what());
        }
    }

    /// So many more of what is called so.
    pub fn leave_out(&mut self, name: impl Into<String>, number: u64) {
        if number > 0 {
            self.left_out.push((name.into(), number));
        }
    }

    /// All of the source was understood.
    pub fn is_nothing(&self) -> bool {
        self.lines == 0 && self.early.is_none() && self.left_out.is_empty()
    }
}
