//! Names of interfaces and network namespaces.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::netns::{Inode, Namespace};
use super::privileges::SETCAP;

/// Names of things that are gone are kept for events still on their way, this many.
const KEPT: usize = 1024;
/// Messages about failures kept; the count goes on.
const KEPT_PROBLEMS: usize = 32;
/// Causes of failures that are remembered, so that each is reported once.
const KEPT_CAUSES: usize = 16;

/// Names, shared and kept up to date by the thread that attaches. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<RwLock<Directory>>);

#[derive(Debug, Default)]
struct Directory {
    namespaces: HashMap<Inode, Entry>,
    /// Ended namespaces and their interfaces, oldest first.
    ended: VecDeque<Entry>,
    problems: Vec<String>,
    failures: u64,
    /// Causes that were reported.
    causes: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    namespace: Namespace,
    /// A file that led there when the namespace was last visited.
    path: Option<PathBuf>,
    interfaces: HashMap<u32, String>,
    /// Interfaces that went, oldest first; their names stay until there are too many.
    gone: VecDeque<u32>,
}

impl Names {
    /// Name of an interface by what an event carries. `None`: not known. Without a cookie (0, kernels before 6.15
    /// for packets) it answers only if all namespaces that have the index agree.
    pub fn interface(&self, netns_cookie: u64, ifindex: u32) -> Option<String> {
        self.read(|directory| {
            let mut names = directory
                .entries()
                .filter(|entry| netns_cookie == 0 || entry.namespace.cookie == Some(netns_cookie))
                .filter_map(|entry| entry.interfaces.get(&ifindex));
            let first = names.next()?;
            names.all(|name| name == first).then(|| first.clone())
        })
    }

    /// Inode of a namespace by its cookie; also for a while after it ended.
    pub fn inode(&self, netns_cookie: u64) -> Option<Inode> {
        self.read(|directory| {
            directory
                .entries()
                .map(|entry| &entry.namespace)
                .find(|known| known.cookie == Some(netns_cookie))
                .map(|known| known.inode)
        })
    }

    /// A file that led to a namespace when it was last visited, and the inode by which to know that it still does;
    /// `None` for one that was never seen or has ended.
    pub fn way(&self, netns_cookie: u64) -> Option<(PathBuf, Inode)> {
        self.read(|directory| {
            let entry = directory
                .namespaces
                .values()
                .find(|entry| entry.namespace.cookie == Some(netns_cookie))?;
            Some((entry.path.clone()?, entry.namespace.inode))
        })
    }

    /// Namespaces that classifiers are in now.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.read(|directory| {
            directory
                .namespaces
                .values()
                .map(|entry| entry.namespace.clone())
                .collect()
        })
    }

    /// Interfaces that are known in a namespace now, by index; those without classifiers too.
    pub fn interfaces(&self, inode: Inode) -> Vec<(u32, String)> {
        self.read(|directory| {
            let entry = directory.namespaces.get(&inode);
            let known = entry.into_iter().flat_map(|entry| {
                entry
                    .interfaces
                    .iter()
                    .filter(|(index, _)| !entry.gone.contains(index))
            });
            known.map(|(index, name)| (*index, name.clone())).collect()
        })
    }

    /// How many interfaces or namespaces could not be attached to, and what was said of the first of them.
    pub fn problems(&self) -> (u64, Vec<String>) {
        self.read(|directory| (directory.failures, directory.problems.clone()))
    }

    pub(super) fn add_namespace(&self, namespace: Namespace) {
        let entry = Entry {
            namespace,
            path: None,
            interfaces: HashMap::new(),
            gone: VecDeque::new(),
        };
        self.write(|directory| directory.namespaces.insert(entry.namespace.inode, entry));
    }

    pub(super) fn set_way(&self, inode: Inode, path: PathBuf) {
        let is_known = self.read(|directory| {
            let known = directory.namespaces.get(&inode);
            known.is_some_and(|entry| entry.path.as_ref() == Some(&path))
        });
        if !is_known {
            self.write(|directory| {
                if let Some(entry) = directory.namespaces.get_mut(&inode) {
                    entry.path = Some(path);
                }
            });
        }
    }

    pub(super) fn remove_namespace(&self, inode: Inode) {
        self.write(|directory| {
            if let Some(entry) = directory.namespaces.remove(&inode) {
                directory.ended.push_back(entry);
                if directory.ended.len() > KEPT {
                    directory.ended.pop_front();
                }
            }
        });
    }

    pub(super) fn set_interface(&self, inode: Inode, ifindex: u32, name: &str) {
        let is_known = self.read(|directory| {
            directory.namespaces.get(&inode).is_some_and(|entry| {
                entry
                    .interfaces
                    .get(&ifindex)
                    .is_some_and(|known| known == name)
                    && !entry.gone.contains(&ifindex)
            })
        });
        if !is_known {
            self.write(|directory| {
                if let Some(entry) = directory.namespaces.get_mut(&inode) {
                    entry.gone.retain(|index| *index != ifindex);
                    entry.interfaces.insert(ifindex, name.to_owned());
                }
            });
        }
    }

    pub(super) fn remove_interface(&self, inode: Inode, ifindex: u32) {
        self.write(|directory| {
            if let Some(entry) = directory.namespaces.get_mut(&inode)
                && entry.interfaces.contains_key(&ifindex)
                && !entry.gone.contains(&ifindex)
            {
                entry.gone.push_back(ifindex);
                if entry.gone.len() > KEPT
                    && let Some(oldest) = entry.gone.pop_front()
                {
                    entry.interfaces.remove(&oldest);
                }
            }
        });
    }

    /// Something that cannot be watched, and why; the first one of each cause is reported at once.
    pub(super) fn add_problem(&self, what: &str, cause: String) {
        let problem = format!("{what}: {cause}");
        let is_new = self.write(|directory| {
            directory.failures += 1;
            let is_new = directory.causes.len() < KEPT_CAUSES && !directory.causes.contains(&cause);
            if is_new {
                directory.causes.push(cause);
            }
            if directory.problems.len() < KEPT_PROBLEMS {
                directory.problems.push(problem.clone());
            }
            is_new
        });
        if is_new {
            log::warn!("not watched: {problem}; further ones are only counted");
        } else {
            log::debug!("not watched: {problem}");
        }
    }

    // A writer that panicked leaves names that are old at worst.
    fn read<T>(&self, work: impl FnOnce(&Directory) -> T) -> T {
        work(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, work: impl FnOnce(&mut Directory) -> T) -> T {
        work(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An error as a cause, with the next step.
pub(super) fn cause(error: &io::Error) -> String {
    let advice = match error.raw_os_error() {
        Some(libc::EMFILE) => {
            let limit = rsttrace_sys::file_limit().unwrap_or_default();
            format!(
                "raise the limit of open files, now {limit} (`ulimit -n`, or LimitNOFILE= of the systemd unit); each interface takes 2"
            )
        }
        Some(libc::ENFILE) => "raise the limit of the system, fs.file-max".to_owned(),
        Some(libc::EPERM) => {
            format!("run as root, or add capabilities to the binary: setcap {SETCAP} FILE")
        }
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

impl Directory {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.namespaces.values().chain(self.ended.iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let names = Names::default();
        for (inode, cookie) in [(1, 10), (2, 20)] {
            names.add_namespace(Namespace {
                inode,
                cookie: Some(cookie),
                is_own: inode == 1,
            });
            names.set_interface(inode, 1, "lo");
        }
        names.set_interface(1, 2, "eth0");
        names.set_interface(2, 2, "veth9");
        names
    }

    #[test]
    fn an_index_means_something_in_its_namespace_only() {
        let names = names();
        assert_eq!(names.interface(20, 2).as_deref(), Some("veth9"));
        assert_eq!(names.interface(30, 2), None);
        assert_eq!(names.interface(0, 1).as_deref(), Some("lo"));
        assert_eq!(names.interface(0, 2), None);
        assert_eq!(names.inode(20), Some(2));
    }

    #[test]
    fn events_still_on_their_way_find_names_of_what_ended() {
        let names = names();
        names.set_way(2, PathBuf::from("/run/netns/blue"));
        assert_eq!(names.way(20), Some((PathBuf::from("/run/netns/blue"), 2)));
        names.remove_interface(1, 2);
        names.remove_namespace(2);
        assert_eq!(names.interface(10, 2).as_deref(), Some("eth0"));
        assert_eq!(names.interface(20, 2).as_deref(), Some("veth9"));
        assert_eq!(names.interfaces(1), [(1, "lo".to_owned())]);
        assert_eq!(names.namespaces().len(), 1);
        assert_eq!(names.way(20), None);
    }

    #[test]
    fn each_cause_is_reported_once_and_all_are_counted() {
        let names = names();
        let full = cause(&io::Error::from_raw_os_error(libc::EMFILE));
        assert!(full.contains("LimitNOFILE="), "{full}");
        for number in 0..100 {
            names.add_problem(&format!("interface veth{number}"), full.clone());
            names.add_problem("a namespace", format!("cause {number}"));
        }
        assert_eq!(names.problems().0, 200);
        names.read(|directory| assert_eq!(directory.causes.len(), KEPT_CAUSES));
    }

    #[test]
    fn what_ended_does_not_pile_up() {
        let names = names();
        for index in 0..3000 {
            names.set_interface(1, 100 + index, "veth");
            names.remove_interface(1, 100 + index);
            names.add_namespace(Namespace {
                inode: 50,
                cookie: Some(index.into()),
                is_own: false,
            });
            names.remove_namespace(50);
        }
        names.read(|directory| {
            assert_eq!(directory.ended.len(), KEPT);
            assert!(directory.namespaces[&1].interfaces.len() <= KEPT + 2);
        });
    }
}
