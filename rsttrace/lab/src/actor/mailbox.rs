//! Passing an open socket to another process over a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// This process's mailbox. Its name is of this network namespace and goes with it.
pub fn open() -> io::Result<UnixDatagram> {
    let address = SocketAddr::from_abstract_name(name(std::process::id()))?;
    let mailbox = UnixDatagram::bind_addr(&address)?;
    mailbox.set_read_timeout(Some(LIMIT))?;
    Ok(mailbox)
}

/// Puts a copy of a socket into the mailbox of a process.
pub fn put(socket: BorrowedFd<'_>, of: u32) -> io::Result<()> {
    let from = UnixDatagram::unbound()?;
    let to = UnixAddr::new_abstract(name(of).as_bytes())?;
    let descriptors = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let text = [IoSlice::new(b"socket")];
    sendmsg(
        from.as_raw_fd(),
        &text,
        &rights,
        MsgFlags::empty(),
        Some(&to),
    )?;
    Ok(())
}

/// Takes a socket out of it.
#[allow(
    unsafe_code,
    reason = "a descriptor that came over a socket has no owner yet"
)]
pub fn take(mailbox: &UnixDatagram) -> io::Result<OwnedFd> {
    let mut text = [0; 16];
    let mut text = [IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(mailbox.as_raw_fd(), &mut text, Some(&mut space), flags)?;
    let handed = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    let handed = handed.ok_or(Errno::ENOMSG)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(handed) })
}

fn name(pid: u32) -> String {
    format!("rsttrace-demo-{pid}")
}

/// Far longer than any step takes; only a failed staging waits that long.
const LIMIT: Duration = Duration::from_secs(3);
