//! System calls without a safe wrapper in our dependencies.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{c_int, c_void, socklen_t};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};

/// Raises this process's soft limit of open files to the hard one. If that fails, opening too many does, and says so.
pub fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The limit of this process's descriptors: they are below it.
pub fn file_limit() -> Option<u64> {
    getrlimit(Resource::RLIMIT_NOFILE)
        .ok()
        .map(|(soft, _)| soft)
}

/// Whether this process ignores a signal, as it does with SIGHUP under nohup; `false` if that cannot be read.
pub fn ignores(signal: c_int) -> bool {
    let status = procfs::process::Process::myself().and_then(|it| it.status());
    status.is_ok_and(|status| status.sigign >> (signal - 1) & 1 == 1)
}

/// Lets a signal do by default what it does: SIGINT, SIGTERM and SIGHUP end the process.
pub fn restore_default(signal: Signal) -> nix::Result<()> {
    // SAFETY: no handler is installed, the default action runs no code of this process.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map(drop)
}

/// Ignores the first of these signals. From then on each does by default what it does.
pub fn ignore_once(signals: &[Signal]) -> nix::Result<()> {
    /// Numbers of the signals as bits.
    static ALL: AtomicU64 = AtomicU64::new(0);
    extern "C" fn restore(_: c_int) {
        let all = ALL.load(Ordering::Relaxed);
        for signal in (0..c_int::from(63_u8)).filter(|signal| all >> signal & 1 == 1) {
            // SAFETY: signal(2) may be called in a handler (signal-safety(7)); the default action runs no code of this process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    let bits = signals.iter().map(|signal| 1 << *signal as u64);
    ALL.store(bits.fold(0, |all, bit: u64| all | bit), Ordering::Relaxed);
    let action = SigAction::new(
        SigHandler::Handler(restore),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in signals {
        // SAFETY: the handler only loads a number and calls signal(2).
        unsafe { nix::sys::signal::sigaction(*signal, &action) }?;
    }
    Ok(())
}

/// Sets a socket option whose value is a C int.
pub fn set_socket_option(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    let length = size_of::<c_int>() as socklen_t;
    // SAFETY: `value` lives across the call and `length` is its size; the descriptor is borrowed.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    check(rc)
}

/// Reads a socket option whose value is a C int.
pub fn socket_option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    let into: *mut c_void = (&raw mut value).cast();
    // SAFETY: `into` points to `length` writable bytes that live across the call.
    let rc = unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, into, &raw mut length) };
    check(rc).map(|()| value)
}

/// The TCP state of a socket (`tcpi_state`, the numbers of `include/net/tcp_states.h`).
pub fn tcp_state(fd: BorrowedFd<'_>) -> io::Result<u8> {
    // The state is the first byte of struct tcp_info; the kernel truncates the answer to the length given.
    let mut info = [0_u8; 8];
    tcp_info_bytes(fd, &mut info)?;
    Ok(info[0])
}

/// What the kernel tells about a TCP connection: some members of `struct tcp_info` (include/uapi/linux/tcp.h).
#[derive(Clone, Copy, Debug)]
pub struct TcpInfo {
    /// The numbers of `include/net/tcp_states.h`.
    pub state: u8,
    /// Segments sent and not acknowledged yet.
    pub unacknowledged: u32,
    /// Bytes not sent yet.
    pub unsent: u32,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Segments that came, of any kind.
    pub segments_in: u32,
}

/// Reads them. All are there since Linux 4.6.
pub fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = [0_u8; 148];
    tcp_info_bytes(fd, &mut info)?;
    let word = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&info[at..at + 4]);
        u32::from_ne_bytes(bytes)
    };
    Ok(TcpInfo {
        state: info[0],
        unacknowledged: word(24),
        unsent: word(144),
        rtt_us: word(68),
        segments_in: word(140),
    })
}

fn tcp_info_bytes(fd: BorrowedFd<'_>, info: &mut [u8]) -> io::Result<()> {
    let mut length = info.len() as socklen_t;
    let into: *mut c_void = info.as_mut_ptr().cast();
    // SAFETY: `into` points to `length` writable bytes that live across the call.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            into,
            &raw mut length,
        )
    };
    check(rc)
}

/// How many received bytes wait to be read.
pub fn unread_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: FIONREAD writes one C int, which `bytes` is.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    check(rc).map(|()| usize::try_from(bytes).unwrap_or(0))
}

/// Seconds that the IPVS of a socket's network namespace remembers an established connection, and one after a FIN:
/// `IP_VS_SO_GET_TIMEOUT` of include/uapi/linux/ip_vs.h. `ENOPROTOOPT` where the kernel has none.
pub fn ipvs_timeouts(fd: BorrowedFd<'_>) -> io::Result<[u32; 2]> {
    const IP_VS_SO_GET_TIMEOUT: c_int = 64 + 1024 + 64 + 6;
    // struct ip_vs_timeout_user: TCP, TCP after a FIN, UDP.
    let mut timeouts: [c_int; 3] = [0; 3];
    let mut length = size_of_val(&timeouts) as socklen_t;
    let into: *mut c_void = timeouts.as_mut_ptr().cast();
    // SAFETY: `into` points to `length` writable bytes that live across the call.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            IP_VS_SO_GET_TIMEOUT,
            into,
            &raw mut length,
        )
    };
    check(rc)?;
    let [established, fin_wait, _] = timeouts.map(|seconds| u32::try_from(seconds).unwrap_or(0));
    Ok([established, fin_wait])
}

/// A descriptor that stands for a process: pidfd_open(2), Linux 5.3.
pub fn open_process(pid: u32) -> io::Result<OwnedFd> {
    const NO_FLAGS: libc::c_uint = 0;
    // SAFETY: pidfd_open(2) takes two integers and no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, NO_FLAGS) };
    own(fd)
}

/// A copy of a descriptor of another process: pidfd_getfd(2), Linux 5.6. `EPERM` without the right to trace it.
pub fn copy_descriptor(process: BorrowedFd<'_>, fd: RawFd) -> io::Result<OwnedFd> {
    const NO_FLAGS: libc::c_uint = 0;
    // SAFETY: pidfd_getfd(2) takes three integers and no pointer; the first descriptor is borrowed.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, NO_FLAGS) };
    own(copy)
}

fn own(fd: libc::c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Dissolves the association of a socket: connect(2) with AF_UNSPEC.
pub fn disconnect(fd: BorrowedFd<'_>) -> io::Result<()> {
    let address = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as libc::sa_family_t,
        sa_data: [0; 14],
    };
    let length = size_of::<libc::sockaddr>() as socklen_t;
    // SAFETY: `address` is a whole sockaddr of `length` bytes that lives across the call.
    let rc = unsafe { libc::connect(fd.as_raw_fd(), &raw const address, length) };
    check(rc)
}

/// Hands free memory back to the system, which the allocator keeps for later otherwise. Nothing where it does so by itself.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    {
        const KEEP_NOTHING: usize = 0;
        // SAFETY: malloc_trim(3) takes an integer and touches only what is free.
        unsafe { libc::malloc_trim(KEEP_NOTHING) };
    }
}

/// Forks; `None` in the child. Refused (EPERM) when the process has more than one thread, because the child
/// could then find locks held by threads it does not have.
pub fn fork() -> io::Result<Option<u32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: this is the only thread, as just seen, so the child has all that the parent has.
    let pid = unsafe { libc::fork() };
    match u32::try_from(pid) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(0) => Ok(None),
        Ok(child) => Ok(Some(child)),
    }
}

fn check(rc: c_int) -> io::Result<()> {
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
