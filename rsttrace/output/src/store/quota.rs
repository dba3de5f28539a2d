//! Estimate of the pages that rows will need.
//!
//! As SQLite puts rows behind one another: a row that does not fit behind the one before begins a page, and what is too long for a
//! page goes on in pages of its own.

/// Capacity of a page without its header.
const PAGE: u64 = 4_088;
/// A longer row continues on other pages.
const LONGEST: u64 = 4_061;
/// Then so much of it, at least, stays.
const LEAST: u64 = 489;
/// Capacity of such a page.
const CONTINUED: u64 = 4_092;
/// Before each row: where it is, its length and its number.
const FRAME: u64 = 2 + 9 + 9;
/// What the index takes for a row; its pages may be half full.
const INDEX: u64 = 64;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    leaves: u64,
    continued: u64,
    /// Bytes that are left in the last leaf.
    left: u64,
    rows: u64,
}

impl Room {
    /// Another row; its maximum size is in bytes.
    pub fn add(&mut self, bytes: u64) {
        let here = if bytes <= LONGEST {
            bytes
        } else {
            // Less stays if that fills the last page; as much as may stay is counted here, and as much as may go there.
            self.continued += (bytes - LEAST).div_ceil(CONTINUED);
            LONGEST
        };
        let cell = (here + FRAME).min(PAGE);
        if cell > self.left {
            self.leaves += 1;
            self.left = PAGE;
        }
        self.left -= cell;
        self.rows += 1;
    }

    /// Pages that they take, those of the index and of the upper levels included.
    pub fn pages(&self) -> u64 {
        let below = self.leaves + self.continued + (self.rows * INDEX).div_ceil(PAGE);
        below + below.div_ceil(200)
    }
}
