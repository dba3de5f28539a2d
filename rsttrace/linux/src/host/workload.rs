//! Names of containers and pods, from the files of the kubelet and the container runtimes on this node.
//!
//! All sources are optional. Files and folders are read as the first process sees them, so rsttrace may be in a container with the PID
//! namespace of the host; only those count that nobody but root can change. Disks may be slow, so a thread reads them: an answer that
//! takes longer than [`PATIENCE`] is used for later resets.

mod sources;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log::debug;

use super::cgroup::Ids;
use super::root::Root;
use crate::event::BootTime;
use crate::hash::{self, LruCache};
use crate::record::Workload;

/// Containers that are remembered.
const CAPACITY: usize = 2_048;
/// Questions that wait.
const WAITING: usize = 64;
/// Questions a second; beyond them nothing is read, and containers stay without names for a moment.
const RATE: u32 = 50;
/// How long an event waits for names.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long events wait in one second, all together: meanwhile nothing else is read.
const PATIENCE_A_SECOND: Duration = Duration::from_millis(100);
/// Docker can rename a container.
const FRESH: Duration = Duration::from_secs(600);
/// The kubelet makes its files after the start of the container.
const FRESH_WITHOUT_CONTAINER: Duration = Duration::from_secs(10);

/// What the cgroup path of a process says about its container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Container {
    /// 64 hexadecimal digits.
    id: Option<String>,
    pod_uid: Option<String>,
}

/// Finds names and remembers them.
#[derive(Debug)]
pub struct Workloads {
    /// Absent: the root directory of the first process.
    root: Option<PathBuf>,
    /// With the time of the answer, or of the question while there is none.
    known: LruCache<Container, (Option<Box<Workload>>, BootTime)>,
    thread: Option<Thread>,
    /// Questions without an answer.
    outstanding: usize,
    /// Questions since then.
    second: (BootTime, u32),
    /// For answers, in that second.
    waited: Duration,
}

#[derive(Debug)]
struct Thread {
    questions: SyncSender<Container>,
    answers: Receiver<(Container, Workload)>,
}

impl Default for Workloads {
    fn default() -> Self {
        Self {
            root: None,
            known: hash::lru(CAPACITY),
            thread: None,
            outstanding: 0,
            second: (BootTime(0), 0),
            waited: Duration::ZERO,
        }
    }
}

impl Workloads {
    /// Of the files below this folder.
    #[cfg(test)]
    pub fn below(root: &Path) -> Self {
        Self {
            root: Some(root.to_owned()),
            ..Self::default()
        }
    }

    /// The names of a container or pod. Nothing is read for a process outside of containers.
    pub fn of(&mut self, ids: &Ids, now: BootTime) -> Option<Box<Workload>> {
        self.find(ids, now, true)
    }

    /// The same, as far as it is known; the rest is known later.
    pub fn of_without_waiting(&mut self, ids: &Ids, now: BootTime) -> Option<Box<Workload>> {
        self.find(ids, now, false)
    }

    fn find(&mut self, ids: &Ids, now: BootTime, waits: bool) -> Option<Box<Workload>> {
        let id = ids.container_id.as_ref().filter(|id| is_runtime_id(id));
        let container = Container {
            id: id.cloned(),
            pod_uid: ids.pod_uid.clone(),
        };
        if container.id.is_none() && container.pod_uid.is_none() {
            return None;
        }
        self.take_answers(now);
        let mut last = None;
        if let Some((names, at)) = self.known.get(&container) {
            let is_complete = names.as_ref().is_some_and(|it| it.container.is_some());
            let fresh = if is_complete {
                FRESH
            } else {
                FRESH_WITHOUT_CONTAINER
            };
            if now.since(*at) < fresh {
                return names.clone();
            }
            last = names.clone();
        }
        if !self.may_ask(now) {
            return last;
        }
        let is_idle = self.outstanding == 0;
        if !self.ask(container.clone()) {
            return last;
        }
        self.known.put(container.clone(), (last.clone(), now));
        if is_idle && waits {
            self.await_answer(now);
        }
        let known = self.known.get(&container);
        known.map_or(last, |(names, _)| names.clone())
    }

    fn may_ask(&mut self, now: BootTime) -> bool {
        let (begun, questions) = &mut self.second;
        if now.since(*begun) >= Duration::from_secs(1) {
            (*begun, *questions) = (now, 0);
            self.waited = Duration::ZERO;
        }
        *questions += 1;
        *questions <= RATE
    }

    fn ask(&mut self, container: Container) -> bool {
        if self.thread.is_none() {
            let root = self.root.clone();
            self.thread = Thread::start(move || match &root {
                Some(folder) => Root::at(folder),
                // Without CAP_SYS_PTRACE only the own one.
                None => Root::of(1).or_else(|| Root::at(Path::new("/"))),
            });
        }
        let thread = self.thread.as_ref();
        let asked = thread.is_some_and(|thread| thread.questions.try_send(container).is_ok());
        self.outstanding += usize::from(asked);
        asked
    }

    fn await_answer(&mut self, now: BootTime) {
        let (thread, patience) = (self.thread.as_ref(), self.patience());
        let begun = Instant::now();
        let answer = thread.and_then(|thread| thread.answers.recv_timeout(patience).ok());
        self.waited += begun.elapsed();
        if let Some(answer) = answer {
            self.keep(answer, now);
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE.min(PATIENCE_A_SECOND.saturating_sub(self.waited))
    }

    fn take_answers(&mut self, now: BootTime) {
        while let Some(answer) = self
            .thread
            .as_ref()
            .filter(|_| self.outstanding > 0)
            .and_then(|thread| thread.answers.try_recv().ok())
        {
            self.keep(answer, now);
        }
    }

    fn keep(&mut self, (container, names): (Container, Workload), now: BootTime) {
        self.outstanding = self.outstanding.saturating_sub(1);
        // A container that has gone keeps its names.
        let names = (names != Workload::default()).then(|| Box::new(names));
        let names = names.or_else(|| self.known.get(&container).and_then(|(it, _)| it.clone()));
        self.known.put(container, (names, now));
    }
}

impl Thread {
    fn start(root: impl FnOnce() -> Option<Root> + Send + 'static) -> Option<Self> {
        let (questions, to_do) = sync_channel::<Container>(WAITING);
        let (done, answers) = sync_channel(WAITING);
        let work = move || {
            let root = root();
            let mut lists = sources::Lists::default();
            for container in to_do {
                let Container { id, pod_uid } = &container;
                let names = root.as_ref().map(|root| {
                    sources::names(root, &mut lists, id.as_deref(), pod_uid.as_deref())
                });
                if done.send((container, names.unwrap_or_default())).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("rsttrace-names".to_owned());
        match thread.spawn(work) {
            Ok(_) => Some(Self { questions, answers }),
            Err(error) => {
                debug!("containers have no names, because no thread can start: {error}");
                None
            }
        }
    }
}

/// As container runtimes make them; names of LXC containers and ids of Fargate are no part of a path.
fn is_runtime_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::fs;

    const SECOND: u64 = 1_000_000_000;

    fn ids(digit: char) -> Ids {
        Ids {
            container_id: Some(digit.to_string().repeat(64)),
            ..Ids::default()
        }
    }

    /// The answer that does not depend on the speed of the thread.
    fn answer(workloads: &mut Workloads, ids: &Ids, now: u64) -> Option<String> {
        let first = workloads.of(ids, BootTime(now));
        let end = Instant::now() + Duration::from_secs(10);
        while workloads.outstanding > 0 {
            assert!(Instant::now() < end, "no answer for 10 s");
            workloads.take_answers(BootTime(now));
            std::thread::yield_now();
        }
        let names = first.or_else(|| workloads.of(ids, BootTime(now)));
        names.and_then(|it| it.pod.as_ref().map(ToString::to_string))
    }

    fn log_of(root: &Path, pod: &str, digit: char) -> PathBuf {
        let id = digit.to_string().repeat(64);
        root.join(format!("var/log/containers/{pod}_shop_nginx-{id}.log"))
    }

    #[test]
    fn names_are_read_once_and_what_has_none_is_asked_for_again() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/log/containers")).unwrap();
        fs::write(log_of(root.path(), "web-0", 'a'), "").unwrap();
        let mut workloads = Workloads::below(root.path());
        let now = 100 * SECOND;
        assert_eq!(
            answer(&mut workloads, &ids('a'), now).as_deref(),
            Some("web-0")
        );
        assert_eq!(answer(&mut workloads, &ids('b'), now), None);
        // A name that is known holds, also for a container that has gone.
        fs::remove_file(log_of(root.path(), "web-0", 'a')).unwrap();
        fs::write(log_of(root.path(), "web-1", 'b'), "").unwrap();
        for (digit, later, expected) in [
            ('a', 9, Some("web-0")),
            ('b', 9, None),
            ('b', 11, Some("web-1")),
            ('a', 700, Some("web-0")),
        ] {
            let found = answer(&mut workloads, &ids(digit), now + later * SECOND);
            assert_eq!(found.as_deref(), expected, "{digit} after {later} s");
        }
    }

    #[test]
    fn nothing_is_read_outside_of_containers_and_of_ids_that_are_no_part_of_a_path() {
        let mut workloads = Workloads::default();
        for id in [None, Some("../../etc"), Some("web1"), Some(".")] {
            let ids = Ids {
                container_id: id.map(str::to_owned),
                unit: Some("nginx.service".to_owned()),
                ..Ids::default()
            };
            assert_eq!(workloads.of(&ids, BootTime(1)), None);
        }
        assert!(workloads.thread.is_none());
    }

    #[test]
    fn slow_disks_delay_events_for_a_part_of_each_second() {
        let mut workloads = Workloads::default();
        let (questions, _to_do) = sync_channel(WAITING);
        let (_done, answers) = sync_channel(WAITING);
        workloads.thread = Some(Thread { questions, answers });
        for number in 0..RATE {
            // As if the answer had come late.
            workloads.outstanding = 0;
            let ids = Ids {
                container_id: Some(format!("{number:064x}")),
                ..Ids::default()
            };
            assert_eq!(workloads.of(&ids, BootTime(SECOND)), None);
        }
        assert_eq!(workloads.patience(), Duration::ZERO);
        assert!(workloads.may_ask(BootTime(2 * SECOND)));
        assert_eq!(workloads.patience(), PATIENCE);
    }

    #[test]
    fn a_flood_of_containers_reads_a_bounded_number_of_times() {
        let root = tempfile::tempdir().unwrap();
        let mut workloads = Workloads::below(root.path());
        for number in 0..10 * u64::from(RATE) {
            let ids = Ids {
                container_id: Some(format!("{number:064x}")),
                ..Ids::default()
            };
            assert_eq!(workloads.of(&ids, BootTime(SECOND)), None);
        }
        assert!(workloads.known.len() <= RATE as usize);
    }
}
