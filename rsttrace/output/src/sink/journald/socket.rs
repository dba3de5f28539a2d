//! The socket of journald, and the thread that writes to it.
//!
//! A journald that does not read costs entries, never time: what finds no room in the queue, or is refused, is counted as dropped.

use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use log::warn;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use crate::worker::{Handed, Worker};

/// Where journald listens.
pub const JOURNAL: &str = "/run/systemd/journal/socket";

/// Bytes that wait at most.
const MOST: usize = 4 << 20;
/// Entries that wait at most.
const ENTRIES: usize = 8_192;
/// How long the end waits for a journald that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes entries in the background.
pub struct Journal {
    /// Absent after the end.
    thread: Option<Worker<Vec<u8>, ()>>,
    queue: Arc<Queue>,
    dropped: Arc<AtomicU64>,
}

/// What waits.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    entries: AtomicU64,
}

impl Journal {
    /// Starts the thread; fails if nobody listens at `path`. Entries that are not written are added to `dropped`.
    pub fn start(path: &Path, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        // Not connected: a journald that starts again may have another socket there.
        let socket = UnixDatagram::unbound()?;
        let queue = Arc::<Queue>::default();
        let (path, its, lost) = (path.to_owned(), Arc::clone(&queue), Arc::clone(&dropped));
        let work = move |handed| write(&handed, &socket, &path, &its, &lost);
        Ok(Self {
            thread: Some(Worker::start("rsttrace-journal", ENTRIES, work)?),
            queue,
            dropped,
        })
    }

    /// Hands an entry over. Never waits.
    pub fn offer(&self, entry: Vec<u8>) {
        let Queue { bytes, entries } = &*self.queue;
        let length = entry.len();
        let fits = bytes.fetch_add(length, Ordering::Relaxed) + length <= MOST;
        entries.fetch_add(1, Ordering::Relaxed);
        let thread = self.thread.as_ref();
        if !fits || thread.is_none_or(|it| it.offer(entry).is_err()) {
            bytes.fetch_sub(length, Ordering::Relaxed);
            entries.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written, as long as journald takes something.
    pub fn finish(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if thread.finish_within(PATIENCE, []).is_none() {
            let left = self.queue.entries.load(Ordering::Relaxed);
            self.dropped.fetch_add(left, Ordering::Relaxed);
        }
    }
}

fn write(
    handed: &Handed<Vec<u8>>,
    socket: &UnixDatagram,
    path: &Path,
    queue: &Queue,
    dropped: &AtomicU64,
) {
    let mut has_warned = false;
    while let Some(entry) = handed.next() {
        if let Err(error) = send(socket, path, &entry) {
            dropped.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut has_warned, true) {
                warn!(
                    "cannot write to the journal: {error}; entries are dropped and counted until it works again, see `systemctl status systemd-journald`"
                );
            }
        }
        queue.bytes.fetch_sub(entry.len(), Ordering::Relaxed);
        queue.entries.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits while the queue of the socket is full.
fn send(socket: &UnixDatagram, path: &Path, entry: &[u8]) -> io::Result<()> {
    loop {
        return match socket.send_to(entry, path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // Too large for a datagram.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::ENOBUFS)) => {
                send_file(socket, path, entry)
            }
            Err(error) => Err(error),
        };
    }
}

/// Sends an entry as a file in memory that nobody can change any more.
fn send_file(socket: &UnixDatagram, path: &Path, entry: &[u8]) -> io::Result<()> {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let mut file = File::from(memfd_create(c"rsttrace-journal", flags)?);
    file.write_all(entry)?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    let files = [file.as_raw_fd()];
    let files = [ControlMessage::ScmRights(&files)];
    let nothing: [IoSlice<'_>; 0] = [];
    let to = UnixAddr::new(path)?;
    sendmsg(
        socket.as_raw_fd(),
        &nothing,
        &files,
        MsgFlags::empty(),
        Some(&to),
    )?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{IoSliceMut, Read as _};
    use std::path::PathBuf;
    use std::time::Instant;

    use nix::sys::socket::{ControlMessageOwned, recvmsg};

    use super::*;

    struct Node {
        folder: tempfile::TempDir,
        socket: UnixDatagram,
    }

    impl Node {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            Self { folder, socket }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("socket")
        }

        fn start(&self) -> (Journal, Arc<AtomicU64>) {
            let dropped = Arc::default();
            let journal = Journal::start(&self.path(), Arc::clone(&dropped)).unwrap();
            (journal, dropped)
        }
    }

    #[test]
    fn entries_arrive_in_order() {
        let node = Node::new();
        let (mut journal, dropped) = node.start();
        let reading = std::thread::spawn({
            let socket = node.socket.try_clone().unwrap();
            move || {
                for number in 0..1_000 {
                    let mut entry = [0; 64];
                    let length = socket.recv(&mut entry).unwrap();
                    assert_eq!(entry[..length], *format!("MESSAGE={number}\n").as_bytes());
                }
            }
        });
        for number in 0..1_000 {
            journal.offer(format!("MESSAGE={number}\n").into_bytes());
        }
        journal.finish();
        reading.join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_entry_that_is_too_large_for_a_datagram_comes_as_a_sealed_file() {
        let node = Node::new();
        let (mut journal, dropped) = node.start();
        let entry = [&b"MESSAGE="[..], &vec![b'x'; 1 << 20], b"\n"].concat();
        journal.offer(entry.clone());
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut byte = [0];
        let mut buffer = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = node.socket.as_raw_fd();
        let message = recvmsg::<UnixAddr>(fd, &mut buffer, Some(&mut space), flags).unwrap();
        assert_eq!(message.bytes, 0);
        let Some(ControlMessageOwned::ScmRights(files)) = message.cmsgs().unwrap().next() else {
            unreachable!("no file came");
        };
        let mut file = File::open(format!("/proc/self/fd/{}", files[0])).unwrap();
        nix::unistd::close(files[0]).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert!(content == entry);
        let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS).unwrap());
        assert!(seals.contains(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK));
        journal.finish();
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_journald_that_does_not_read_costs_entries_and_neither_time_nor_memory() {
        const OFFERED: u64 = 20_000;
        let node = Node::new();
        let (mut journal, dropped) = node.start();
        let entry = [b'x'; 1_000];
        let begun = Instant::now();
        for _ in 0..OFFERED {
            journal.offer(entry.to_vec());
            assert!(journal.queue.bytes.load(Ordering::Relaxed) <= MOST);
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        let begun = Instant::now();
        journal.finish();
        assert!(begun.elapsed() < 2 * PATIENCE, "{:?}", begun.elapsed());
        // The rest fits into the queue of the socket (net.unix.max_dgram_qlen and SO_SNDBUF).
        let written = OFFERED - dropped.load(Ordering::Relaxed);
        assert!((1..OFFERED / 2).contains(&written), "{written}");
    }

    #[test]
    fn without_journald_the_start_fails_and_later_entries_are_counted_until_it_is_back() {
        let node = Node::new();
        let nobody = node.folder.path().join("nobody");
        assert!(Journal::start(&nobody, Arc::default()).is_err());
        let (mut journal, dropped) = node.start();
        std::fs::remove_file(node.path()).unwrap();
        journal.offer(b"MESSAGE=1\n".to_vec());
        let end = Instant::now() + Duration::from_secs(10);
        while dropped.load(Ordering::Relaxed) < 1 {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
        let again = UnixDatagram::bind(node.path()).unwrap();
        again
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        journal.offer(b"MESSAGE=2\n".to_vec());
        let mut entry = [0; 64];
        let length = again.recv(&mut entry).unwrap();
        assert_eq!(entry[..length], *b"MESSAGE=2\n");
        journal.finish();
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}
