//! Identity of a reset across the records of its ends and hops.

use crate::record::{Endpoint, Record, Word};

/// One connection of one chain: equal for all records of one reset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leg {
    boot: Word,
    link: u64,
    ends: [Endpoint; 2],
}

impl Leg {
    /// `None`: no other record is about this reset.
    pub fn of(record: &Record) -> Option<Self> {
        let link = record.link.as_ref()?;
        let mut ends = [record.local.clone(), record.remote.clone()];
        ends.sort_by_key(|end| (end.address, end.port));
        Some(Self {
            boot: record.id.boot.clone(),
            link: link.id,
            ends,
        })
    }
}
