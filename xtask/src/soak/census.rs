//! How many resets did each network namespace of this machine send, as its kernel counts them?

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};

/// By the namespace's inode number.
pub type Census = BTreeMap<u64, u64>;

/// Of each namespace that a task or /run/netns holds. Those that end meanwhile are left out.
pub fn take() -> Census {
    let mut found = Census::new();
    let tasks = directory("/proc")
        .into_iter()
        .flat_map(|process| directory(process.join("task")));
    for task in tasks {
        note(&mut found, &task.join("ns/net"), || {
            out_resets(&task.join("net/snmp"))
        });
    }
    for named in directory("/run/netns") {
        note(&mut found, &named, || {
            let named = named.clone();
            let visit = thread::spawn(move || {
                setns(File::open(named).ok()?, CloneFlags::CLONE_NEWNET).ok()?;
                out_resets(Path::new("/proc/thread-self/net/snmp"))
            });
            visit.join().ok()?
        });
    }
    found
}

/// The number of a namespace.
pub fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.ino())
}

fn note(found: &mut Census, path: &Path, count: impl FnOnce() -> Option<u64>) {
    let Some(inode) = inode(path) else { return };
    if !found.contains_key(&inode)
        && let Some(count) = count()
    {
        found.insert(inode, count);
    }
}

fn directory(path: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn out_resets(snmp: &Path) -> Option<u64> {
    value_of(&fs::read_to_string(snmp).ok()?, "OutRsts")
}

/// Two lines begin with `Tcp:`, names and values.
fn value_of(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

/// What came from whom while something was traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The namespaces asked for.
    pub ours: u64,
    /// The others', at least.
    pub others_least: u64,
    /// The others', at most. `None`: some of them ended, and with them their counts.
    pub others_most: Option<u64>,
}

impl Share {
    /// Of what was counted before the tracer was started, when it was ready, before it was told to end, and after. `seen`:
    /// also in between.
    pub fn of(ours: &[u64], edges: &[Census; 4], seen: &Census) -> Self {
        let [outside, begin, end, after] = edges;
        let grown = |from: &Census, to: &Census, wanted: bool| -> u64 {
            to.iter()
                .filter(|(inode, _)| ours.contains(inode) == wanted)
                .map(|(inode, count)| count.saturating_sub(from.get(inode).copied().unwrap_or(0)))
                .sum()
        };
        let all = [outside, begin, end, seen];
        let mut known = all.into_iter().flat_map(Census::keys);
        let ended = known.any(|inode| !after.contains_key(inode));
        Self {
            ours: grown(begin, end, true),
            others_least: grown(begin, end, false),
            others_most: (!ended).then(|| grown(outside, after, false)),
        }
    }

    /// Whether a tracer that counted so many missed none and invented none.
    pub fn explains(&self, counted: u64) -> bool {
        let most = self.others_most.map(|most| self.ours + most);
        counted >= self.ours + self.others_least && most.is_none_or(|most| counted <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(counts: &[(u64, u64)]) -> Census {
        counts.iter().copied().collect()
    }

    #[test]
    fn the_kernels_count_is_read() {
        let text = "Ip: x\nIp: 1\nTcp: RtoMin OutRsts InErrs\nTcp: 200 17 3\n";
        assert_eq!(value_of(text, "OutRsts"), Some(17));
        assert_eq!(value_of("Tcp: OutRsts\n", "OutRsts"), None);
    }

    #[test]
    fn alone_the_counts_have_to_agree_to_the_last_one() {
        let edges = [
            census(&[(1, 5)]),
            census(&[(1, 5), (7, 100)]),
            census(&[(1, 5), (7, 150)]),
            census(&[(1, 5), (7, 150)]),
        ];
        let share = Share::of(&[7], &edges, &census(&[]));
        assert_eq!(
            (share.ours, share.others_least, share.others_most),
            (50, 0, Some(0))
        );
        assert!(share.explains(50) && !share.explains(49) && !share.explains(51));
    }

    #[test]
    fn what_others_sent_is_between_two_bounds_and_open_when_some_ended() {
        let edges = [
            census(&[(1, 5)]),
            census(&[(1, 6), (7, 0)]),
            census(&[(1, 9), (7, 50)]),
            census(&[(1, 11), (7, 50)]),
        ];
        let share = Share::of(&[7], &edges, &census(&[]));
        assert_eq!((share.others_least, share.others_most), (3, Some(6)));
        assert!(share.explains(53) && share.explains(56));
        assert!(!share.explains(52) && !share.explains(57));
        let ended = Share::of(&[7], &edges, &census(&[(3, 1)]));
        assert_eq!(ended.others_most, None);
        assert!(ended.explains(90) && !ended.explains(52));
    }
}
