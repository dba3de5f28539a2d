//! The end of a connection that serves.

use crate::causes::definition;
use crate::record::{Record, Role, ServingEnd};

/// Which end serves: known from some causes, else the one with the lower port. Two ephemeral ports tell
/// nothing.
pub fn service(record: &Record) -> Option<(ServingEnd, u16)> {
    let local = Some((ServingEnd::Local, record.local.port));
    let remote = Some((ServingEnd::Remote, record.remote.port));
    let listens = record
        .process
        .as_ref()
        .is_some_and(|process| process.role == Role::Listener);
    match definition(record.verdict.cause).serving(record.direction) {
        Some(ServingEnd::Local) => local,
        Some(ServingEnd::Remote) => remote,
        None if listens => local,
        None if record.local.port.min(record.remote.port) >= FIRST_EPHEMERAL => None,
        None if record.local.port <= record.remote.port => local,
        None => remote,
    }
}

/// Linux's default for net.ipv4.ip_local_port_range.
const FIRST_EPHEMERAL: u16 = 32_768;
