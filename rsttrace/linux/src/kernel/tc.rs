//! Attaching and detaching TC classifiers on one interface.
//!
//! TCX links (6.6) end with their descriptors, even when the process is killed. On older kernels filters are put on a
//! clsact qdisc, with a priority and a name of our own; they outlast a killed process. The name also says whether
//! rsttrace created the qdisc, and the next start removes what no living process uses.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::programs::{loaded_links, loaded_programs};
use netlink_packet_core::{Emitable as _, NLM_F_CREATE, NLM_F_EXCL, Parseable as _};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcHeader, TcMessage,
    TcOption,
};

use super::rtnetlink::{self, Connection, attributes};
use super::sys;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcMode {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    Tcx,
    /// Filters on a clsact qdisc.
    Clsact,
}

/// Ingress and egress program of one kind of interface.
pub type Pair = [OwnedFd; 2];

/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` (include/uapi/linux/bpf.h).
const TCX_ATTACH_TYPES: [u32; 2] = [46, 47];
/// Descriptors that are left for what else is opened: /proc, the history, scrapes.
const RESERVE: u64 = 64;
const CLSACT: &str = "clsact";
/// Where filters stand on a clsact qdisc: ingress and egress.
const PARENTS: [TcHandle; 2] = [
    TcHandle {
        major: u16::MAX,
        minor: TcHandle::MIN_INGRESS,
    },
    TcHandle {
        major: u16::MAX,
        minor: TcHandle::MIN_EGRESS,
    },
];
/// Behind the usual small priorities and before those the kernel gives out (from 49152 down).
const PRIORITY: u16 = 47_117;
/// Name of our filters, on a qdisc that was there.
const NAME: &str = "rsttrace";
/// Name of our filters, on a qdisc that we made.
const NAME_WITH_QDISC: &str = "rsttrace/qdisc";

/// What keeps classifiers on an interface.
#[derive(Debug)]
pub enum Attachment {
    /// Links, gone when dropped.
    Tcx {
        /// Held for their end.
        _links: [OwnedFd; 2],
    },
    /// Filters, gone by [`detach`] only.
    Clsact {
        /// The qdisc was not there before.
        made_qdisc: bool,
    },
}

/// Attaches in the calling thread's namespace, which is the connection's too. In `Auto` mode `mode` becomes what works.
pub fn attach(
    connection: &mut Connection,
    mode: &mut TcMode,
    ifindex: u32,
    programs: &Pair,
) -> io::Result<Attachment> {
    if *mode != TcMode::Clsact {
        match attach_tcx(ifindex, programs) {
            Ok(links) => {
                *mode = TcMode::Tcx;
                return Ok(Attachment::Tcx { _links: links });
            }
            Err(error) if *mode == TcMode::Auto && error.raw_os_error() == Some(libc::EINVAL) => {
                *mode = TcMode::Clsact
            }
            Err(error) => return Err(error),
        }
    }
    attach_clsact(connection, ifindex, programs)
}

fn attach_tcx(ifindex: u32, [ingress, egress]: &Pair) -> io::Result<[OwnedFd; 2]> {
    let [ingress_type, egress_type] = TCX_ATTACH_TYPES;
    let links = [
        sys::tcx_attach(ingress.as_fd(), ifindex, ingress_type)?,
        sys::tcx_attach(egress.as_fd(), ifindex, egress_type)?,
    ];
    let limit = rsttrace_sys::file_limit().unwrap_or(u64::MAX);
    // The kernel gives the lowest number that is free.
    let highest = links.iter().map(AsRawFd::as_raw_fd).max();
    if highest.is_some_and(|fd| u64::from(fd.unsigned_abs()) >= limit.saturating_sub(RESERVE)) {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    Ok(links)
}

fn attach_clsact(
    connection: &mut Connection,
    ifindex: u32,
    programs: &Pair,
) -> io::Result<Attachment> {
    let create = NLM_F_CREATE | NLM_F_EXCL;
    let qdisc = RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex));
    let made_qdisc = match connection.request(qdisc, create) {
        Ok(()) => true,
        // Made by another rsttrace, it goes with the last of us.
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => is_shared(connection, ifindex),
        Err(error) => return Err(error),
    };
    let name = if made_qdisc { NAME_WITH_QDISC } else { NAME };
    for (program, parent) in programs.iter().zip(PARENTS) {
        let options = [
            TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32),
            TcFilterBpfOption::ProgName(name.to_owned()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
        ];
        let filter = RouteNetlinkMessage::NewTrafficFilter(TcMessage::from_parts(
            own_filter(ifindex, parent),
            vec![
                TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
                TcAttribute::Options(options.map(TcOption::Bpf).to_vec()),
            ],
        ));
        if let Err(error) = connection.request(filter, create) {
            detach_clsact(connection, ifindex, made_qdisc);
            return Err(error);
        }
    }
    Ok(Attachment::Clsact { made_qdisc })
}

/// Whether the clsact qdisc was made by a rsttrace that still has its filters there.
fn is_shared(connection: &mut Connection, ifindex: u32) -> bool {
    let mut found = false;
    for parent in PARENTS {
        let _ = connection.dump(filters(ifindex, parent), |body| {
            found |= Filter::parse(body)
                .is_some_and(|filter| filter.is_ours() && filter.name == NAME_WITH_QDISC);
        });
    }
    found
}

/// Whether [`detach`] needs the interface's namespace; else dropping is all.
pub fn needs_detach(attachment: &Attachment) -> bool {
    matches!(attachment, Attachment::Clsact { .. })
}

/// Takes classifiers off, in the connection's namespace.
pub fn detach(connection: &mut Connection, ifindex: u32, attachment: Attachment) {
    if let Attachment::Clsact { made_qdisc } = attachment {
        detach_clsact(connection, ifindex, made_qdisc);
    }
}

fn detach_clsact(connection: &mut Connection, ifindex: u32, made_qdisc: bool) {
    for parent in PARENTS {
        delete_filter(connection, own_filter(ifindex, parent));
    }
    if made_qdisc {
        delete_empty_qdisc(connection, ifindex);
    }
}

/// Takes away filters of ours that no living process uses, and the qdisc if it came with them and is empty then.
pub fn sweep(connection: &mut Connection, ifindex: u32) {
    let mut found = Vec::new();
    for parent in PARENTS {
        // An interface without clsact gives an empty answer or an error, which is the same here.
        let _ = connection.dump(filters(ifindex, parent), |body| {
            found.extend(Filter::parse(body))
        });
    }
    found.retain(|filter| filter.is_ours());
    if found.is_empty() {
        return;
    }
    let living = living_maps();
    let mut had_qdisc = false;
    for filter in found {
        if filter.program.is_some_and(|program| {
            maps_of(program).is_some_and(|maps| maps.iter().any(|map| living.contains(map)))
        }) {
            continue;
        }
        had_qdisc |= filter.name == NAME_WITH_QDISC;
        log::info!("removing a filter left by an earlier run on interface {ifindex}");
        delete_filter(connection, filter.header);
    }
    if had_qdisc {
        delete_empty_qdisc(connection, ifindex);
    }
}

/// Maps of programs that some process keeps attached by a link: every running rsttrace has such a program, and all
/// its programs share its maps.
fn living_maps() -> HashSet<u32> {
    let programs: HashSet<u32> = loaded_links()
        .filter_map(|link| Some(link.ok()?.program_id()))
        .collect();
    programs.into_iter().filter_map(maps_of).flatten().collect()
}

fn maps_of(program: u32) -> Option<Vec<u32>> {
    let info = loaded_programs()
        .filter_map(Result::ok)
        .find(|info| info.id() == program)?;
    info.map_ids().ok()?
}

fn delete_filter(connection: &mut Connection, header: TcHeader) {
    let kind = TcAttribute::Kind(TcFilterBpf::KIND.to_owned());
    let filter = TcMessage::from_parts(header, vec![kind]);
    match connection.request(RouteNetlinkMessage::DelTrafficFilter(filter), 0) {
        Err(error) if !is_gone(&error) => log::warn!("cannot remove a filter: {error}"),
        _ => {}
    }
}

fn delete_empty_qdisc(connection: &mut Connection, ifindex: u32) {
    let mut others = 0;
    for parent in PARENTS {
        let _ = connection.dump(filters(ifindex, parent), |_| others += 1);
    }
    if others > 0 {
        log::info!("keeping the clsact qdisc on interface {ifindex}: it is in use by others");
        return;
    }
    let qdisc = RouteNetlinkMessage::DelQueueDiscipline(qdisc(ifindex));
    match connection.request(qdisc, 0) {
        Err(error) if !is_gone(&error) => {
            log::warn!("cannot remove the clsact qdisc of interface {ifindex}: {error}")
        }
        _ => {}
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENODEV | libc::EINVAL)
    )
}

fn filters(ifindex: u32, parent: TcHandle) -> RouteNetlinkMessage {
    let header = header(ifindex, TcHandle::UNSPEC, parent);
    RouteNetlinkMessage::GetTrafficFilter(TcMessage::from_parts(header, Vec::new()))
}

fn qdisc(ifindex: u32) -> TcMessage {
    let handle = TcHandle {
        major: u16::MAX,
        minor: 0,
    };
    TcMessage::from_parts(
        header(ifindex, handle, TcHandle::CLSACT),
        vec![TcAttribute::Kind(CLSACT.to_owned())],
    )
}

/// Ours among the filters of one priority: its handle is the process id, so that two that run do not meet.
fn own_filter(ifindex: u32, parent: TcHandle) -> TcHeader {
    TcHeader {
        // ETH_P_ALL in network order below the priority.
        info: u32::from(PRIORITY) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be()),
        ..header(ifindex, std::process::id().into(), parent)
    }
}

fn header(ifindex: u32, handle: TcHandle, parent: TcHandle) -> TcHeader {
    TcHeader {
        index: ifindex as i32,
        handle,
        parent,
        ..TcHeader::default()
    }
}

/// A filter as the kernel lists it.
struct Filter {
    header: TcHeader,
    kind: String,
    name: String,
    program: Option<u32>,
}

impl Filter {
    fn parse(body: &[u8]) -> Option<Self> {
        let header = TcHeader::parse(body).ok()?;
        let header_len = header.buffer_len();
        let mut filter = Self {
            header,
            kind: String::new(),
            name: String::new(),
            program: None,
        };
        for attribute in attributes(body, header_len) {
            match attribute.kind() {
                libc::TCA_KIND => filter.kind = rtnetlink::text(attribute.value()),
                // Those of other kinds are not looked at, see `is_ours`.
                libc::TCA_OPTIONS => {
                    for option in attributes(attribute.value(), 0) {
                        match TcFilterBpfOption::parse(&option) {
                            Ok(TcFilterBpfOption::ProgName(name)) => filter.name = name,
                            Ok(TcFilterBpfOption::ProgId(id)) => filter.program = Some(id),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(filter)
    }

    fn is_ours(&self) -> bool {
        // The priority is the upper half of the word; a chain's head is listed too, with handle 0.
        self.kind == TcFilterBpf::KIND
            && self.header.info >> 16 == u32::from(PRIORITY)
            && self.header.handle != TcHandle::UNSPEC
            && [NAME, NAME_WITH_QDISC].contains(&self.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, priority: u16) -> Vec<u8> {
        let header = TcHeader {
            info: u32::from(priority) << 16 | 0x300,
            ..header(3, 9.into(), PARENTS[0])
        };
        let options = [
            TcFilterBpfOption::ProgName(name.to_owned()),
            TcFilterBpfOption::ProgId(77),
        ];
        let message = TcMessage::from_parts(
            header,
            vec![
                TcAttribute::Kind(TcFilterBpf::KIND.to_owned()),
                TcAttribute::Options(options.map(TcOption::Bpf).to_vec()),
            ],
        );
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn only_filters_of_our_name_and_priority_are_ours() {
        let ours = Filter::parse(&listed(NAME_WITH_QDISC, PRIORITY)).expect("well formed");
        assert!(ours.is_ours());
        assert_eq!(ours.program, Some(77));
        assert!(
            !Filter::parse(&listed("cilium", PRIORITY))
                .expect("well formed")
                .is_ours()
        );
        assert!(
            !Filter::parse(&listed(NAME, 1))
                .expect("well formed")
                .is_ours()
        );
        assert!(Filter::parse(&[0; 19]).is_none());
    }
}
