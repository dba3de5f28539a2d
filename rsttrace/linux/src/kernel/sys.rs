//! System calls of the kernel edge without a safe wrapper in our dependencies.
#![allow(unsafe_code)]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `SO_NETNS_COOKIE` (include/uapi/asm-generic/socket.h), Linux 5.14.
const SO_NETNS_COOKIE: c_int = 71;
/// `BPF_LINK_CREATE` (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_long = 28;
/// `BPF_F_AFTER` without an object to be after: behind all others.
const BPF_F_AFTER: u32 = 1 << 4;

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` reads for TCX; what is not there counts as zero.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative_fd: u32,
    reserved: u32,
    expected_revision: u64,
}

/// Attaches a classifier to an interface of the calling thread's network namespace, behind all others.
/// The link ends with the last copy of the returned descriptor. `EINVAL`: the kernel has no TCX (before 6.6).
pub fn tcx_attach(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32) -> io::Result<OwnedFd> {
    let attr = LinkCreate {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: ifindex,
        attach_type,
        flags: BPF_F_AFTER,
        relative_fd: 0,
        reserved: 0,
        expected_revision: 0,
    };
    // SAFETY: bpf(2) reads `size` bytes of the attribute, which is a live `repr(C)` value without padding.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &raw const attr,
            size_of::<LinkCreate>(),
        )
    };
    let fd = check(fd)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Whether hooks at functions fire: `sysctl kernel.ftrace_enabled`, which is on by default.
pub fn functions_can_be_hooked() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/ftrace_enabled")
        .map_or(true, |value| value.trim() != "0")
}

/// Whether the kernel provides cookies of network namespaces.
pub fn has_netns_cookies() -> bool {
    std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))
        .is_ok_and(|socket| netns_cookie(socket.as_fd()).is_ok())
}

/// Cookie of the network namespace that a socket was made in: never reused while the machine runs.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as socklen_t;
    let value = (&raw mut cookie).cast::<c_void>();
    // SAFETY: `value` points to `len` writable bytes that live across the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            value,
            &raw mut len,
        )
    };
    check(result.into())?;
    Ok(cookie)
}

/// Reads one datagram, waiting at most the socket's timeout: its length (which may exceed the buffer: it was cut
/// off) and, with `NETLINK_LISTEN_ALL_NSID`, the id of the namespace it speaks of.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: c_int,
) -> io::Result<(usize, Option<i32>)> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        nsid: c_int,
        padding: c_int,
    }
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero bytes are valid for these C structs of integers and pointers.
    let mut control: Control = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the message points to one buffer and one control area, both alive and of the stated sizes.
    let result = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut message,
            flags | libc::MSG_TRUNC,
        )
    };
    let len = check(result as libc::c_long)? as usize;
    let is_nsid = message.msg_controllen as usize >= offset_of!(Control, padding)
        && control.header.cmsg_level == libc::SOL_NETLINK
        && control.header.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID;
    Ok((len, is_nsid.then_some(control.nsid)))
}

/// Waits until a descriptor has something or `timeout` (rounded up to milliseconds) is over.
pub fn poll(fds: &mut [libc::pollfd], timeout: Duration) -> io::Result<()> {
    let milliseconds = c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
    // SAFETY: the slice is alive and as long as stated.
    check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, milliseconds) }.into())
        .map(drop)
}

/// Lets a netlink socket hear of other namespaces, too.
pub fn listen_everywhere(socket: BorrowedFd<'_>) -> io::Result<()> {
    let on: c_int = 1;
    let (value, len) = (
        (&raw const on).cast::<c_void>(),
        size_of::<c_int>() as socklen_t,
    );
    // SAFETY: `value` points to `len` readable bytes that live across the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_LISTEN_ALL_NSID,
            value,
            len,
        )
    };
    check(result.into()).map(drop)
}

/// Lifts the limit on locked memory, which kernels before 5.11 charge maps against.
pub fn raise_memlock() -> io::Result<()> {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: setrlimit(2) reads one live struct.
    check(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) }.into()).map(drop)
}

/// Has memory given back to the system once it is freed: a start needs ten times what running does, and the
/// allocator would keep that for each thread that had a part in it. For the whole process, other allocators than
/// glibc's are left alone.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes no pointer and may be called at any time.
    let _ = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024) };
}

/// Gives back what is free now.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes no pointer and may be called at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Registers a descriptor with the runtime's epoll, for reading, until the result is dropped.
pub fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: a borrowed descriptor names the same open file as long as it lives, and it is moved into the result.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}
