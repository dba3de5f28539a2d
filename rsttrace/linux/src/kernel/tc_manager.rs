//! The thread that attaches classifiers.
//!
//! One socket in its own namespace receives notifications of interfaces in all namespaces: every namespace gets an id there,
//! which reports its interfaces and its end without keeping it alive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::time::{Duration, Instant};

use super::interfaces::{InterfaceOptions, Programs, Scope};
use super::netns::{self, Holder, Inode, Namespace, Traveller};
use super::netns_names::{Names, cause};
use super::netns_poll::Vigil;
use super::rtnetlink::{self, Connection, Link, Listener, Notice};
use super::scope;
use super::tc::{self, Attachment, TcMode};

/// Timeout of a wait without a pending scan.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Attacher {
    options: InterfaceOptions,
    programs: Programs,
    mode: TcMode,
    names: Names,
    traveller: Traveller,
    news: News,
    known: HashMap<Inode, Known>,
    /// For the first look, which the start waits for: an interface takes the kernel some 20 ms, and nothing passes one
    /// that is down.
    only_up: bool,
}

/// How news of interfaces come.
enum News {
    /// From all namespaces that were announced.
    Everywhere {
        listener: Listener,
        announcer: Connection,
        next_id: i32,
    },
    /// From this process's own; others are looked through at each rescan.
    Home(Listener),
}

struct Known {
    holder: Holder,
    cookie: Option<u64>,
    /// Its id for the listener; `None`: no news from it.
    id: Option<i32>,
    interfaces: HashMap<u32, State>,
}

/// What was done with an interface.
enum State {
    Attached(Attachment),
    /// Not wanted, not possible or refused; not to be tried again.
    LeftOut,
}

impl Attacher {
    /// To be called on the thread that will do the work.
    pub(super) fn new(
        options: InterfaceOptions,
        programs: Programs,
        names: Names,
    ) -> io::Result<Self> {
        let traveller = Traveller::new()?;
        let news = match &options.scope {
            Scope::Own => News::Home(Listener::open(false)?),
            Scope::All | Scope::Only(_) => {
                match traveller.visit_new(|| Ok((Listener::open(true)?, Connection::open()?))) {
                    Ok((listener, announcer)) => News::Everywhere {
                        listener,
                        announcer,
                        next_id: 0,
                    },
                    Err(error) => {
                        names.add_problem("other network namespaces", cause(&error));
                        News::Home(Listener::open(false)?)
                    }
                }
            }
        };
        let mode = options.mode;
        Ok(Self {
            options,
            programs,
            mode,
            names,
            traveller,
            news,
            known: HashMap::new(),
            only_up: false,
        })
    }

    /// Attaches to what packets can pass, and takes away what a killed run left.
    pub(super) fn begin(&mut self) {
        self.only_up = true;
        self.rescan(true);
        self.only_up = false;
    }

    /// Attaches to the rest, too.
    pub(super) fn complete(&mut self) {
        let known: Vec<_> = self.known.keys().copied().collect();
        for inode in known {
            self.look_through(inode, true);
        }
    }

    /// Until the other end of `stop` is closed.
    pub(super) fn run(&mut self, stop: &PipeReader) {
        let mut vigil = (self.options.scope != Scope::Own).then(|| Vigil::new(self.hears_all()));
        loop {
            let next = vigil.as_ref().map(Vigil::next);
            let wait = next.map_or(FOREVER, |next| {
                next.saturating_duration_since(Instant::now())
            });
            let ours = [stop.as_raw_fd(), self.news.listener().as_fd().as_raw_fd()];
            let notifications = vigil.iter().flat_map(Vigil::descriptors);
            let mut fds: Vec<_> = ours.into_iter().chain(notifications).map(pollfd).collect();
            let _ = super::sys::poll(&mut fds, wait);
            if fds[0].revents != 0 {
                return;
            }
            let has_news = fds[1].revents != 0 && self.handle_news();
            let Some(vigil) = &mut vigil else { continue };
            let now = Instant::now();
            if fds[ours.len()..].iter().any(is_broken) {
                vigil.stop_listening(now);
            }
            if has_news {
                vigil.look_again(now);
            }
            if vigil.is_due(now, |inode| self.known.contains_key(&inode)) || has_news {
                self.rescan(false);
                vigil.set_is_notified(self.hears_all());
            }
        }
    }

    /// Whether new namespaces are the only changes without a notification.
    fn hears_all(&self) -> bool {
        let mut known = self.known.iter();
        known.all(|(inode, known)| self.is_heard(*inode, known))
    }

    /// Finds namespaces that came or went. `sweep`: also take away what a killed run left.
    fn rescan(&mut self, sweep: bool) {
        let found = scope::namespaces(&self.options.scope, self.traveller.home());
        let ended: Vec<_> = self
            .known
            .keys()
            .filter(|inode| !found.contains_key(*inode))
            .copied()
            .collect();
        for inode in ended {
            self.forget(inode);
        }
        let home = self.traveller.home();
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_by_key(|(inode, _)| *inode != home);
        for (inode, holder) in found {
            match self.known.get_mut(&inode) {
                Some(known) => known.holder = holder,
                None => self.admit(inode, holder, sweep),
            }
        }
        let unheard: Vec<_> = self
            .known
            .iter()
            .filter(|(inode, known)| !self.is_heard(**inode, known))
            .map(|(inode, _)| *inode)
            .collect();
        for inode in unheard {
            self.look_through(inode, false);
        }
    }

    /// Takes everything off. Links go by being dropped.
    pub(super) fn detach_all(&mut self) {
        let all: Vec<_> = self.known.keys().copied().collect();
        for inode in all {
            self.forget(inode);
        }
    }

    /// Begins with a namespace: announces it first, so that nothing is missed between looking and listening.
    fn admit(&mut self, inode: Inode, holder: Holder, sweep: bool) {
        let id = match &mut self.news {
            News::Home(_) => None,
            News::Everywhere {
                announcer, next_id, ..
            } => {
                let id = *next_id;
                *next_id = next_id.wrapping_add(1).max(0);
                let announced = self
                    .traveller
                    .visit(inode, &holder, || File::open("/proc/thread-self/ns/net"))
                    .and_then(|namespace| rtnetlink::announce(announcer, namespace.as_fd(), id));
                match announced {
                    Ok(id) => Some(id),
                    // It ended meanwhile.
                    Err(error) if netns::is_gone(&error) => return,
                    Err(error) => {
                        log::debug!(
                            "cannot listen for changes in network namespace {inode}: {error}"
                        );
                        None
                    }
                }
            }
        };
        self.known.insert(
            inode,
            Known {
                holder,
                cookie: None,
                id,
                interfaces: HashMap::new(),
            },
        );
        self.look_through(inode, sweep);
    }

    /// Whether news come from a namespace.
    fn is_heard(&self, inode: Inode, known: &Known) -> bool {
        match self.news {
            News::Home(_) => inode == self.traveller.home(),
            News::Everywhere { .. } => known.id.is_some(),
        }
    }

    /// Attaches to what is new in a namespace and forgets what is gone; by another holder, if its last one ended.
    fn look_through(&mut self, inode: Inode, sweep: bool) {
        let mut result = self.visit(inode, sweep);
        if result.as_ref().is_err_and(netns::is_gone)
            && let Some(holder) =
                scope::namespaces(&self.options.scope, self.traveller.home()).remove(&inode)
            && let Some(known) = self.known.get_mut(&inode)
        {
            known.holder = holder;
            result = self.visit(inode, sweep);
        }
        match (result, self.known.get_mut(&inode)) {
            (Err(error), _) if netns::is_gone(&error) => {
                self.known.remove(&inode);
                self.names.remove_namespace(inode);
            }
            // Without notifications from it, it is tried again at each rescan, but logged only once.
            (Err(error), Some(known)) if known.interfaces.is_empty() && known.cookie.is_none() => {
                known.cookie = Some(0);
                self.names
                    .add_problem(&format!("network namespace {inode}"), cause(&error));
            }
            _ => {}
        }
    }

    fn visit(&mut self, inode: Inode, sweep: bool) -> io::Result<()> {
        let Some(known) = self.known.get_mut(&inode) else {
            return Ok(());
        };
        let (options, programs, mode, names) =
            (&self.options, &self.programs, &mut self.mode, &self.names);
        let (is_own, only_up) = (inode == self.traveller.home(), self.only_up);
        let holder = known.holder.clone();
        self.traveller.visit(inode, &holder, || {
            let mut connection = Connection::open()?;
            // As the probes name it, see `Offsets::net_cookie`.
            let cookie = connection.netns_cookie().or(Some(u64::from(inode)));
            if known.cookie != cookie {
                // The inode number went to another namespace.
                known.interfaces.clear();
                names.remove_namespace(inode);
            }
            if known.cookie != cookie || known.interfaces.is_empty() {
                known.cookie = cookie;
                names.add_namespace(Namespace {
                    inode,
                    cookie,
                    is_own,
                });
            }
            names.set_way(inode, holder.path());
            let links = list(&mut connection)?;
            known.interfaces.retain(|index, _| {
                let is_there = links.iter().any(|link| link.ifindex == *index);
                if !is_there {
                    names.remove_interface(inode, *index);
                }
                is_there
            });
            for link in links {
                names.set_interface(inode, link.ifindex, &link.name);
                if known.interfaces.contains_key(&link.ifindex) || (only_up && !link.is_up) {
                    continue;
                }
                if sweep {
                    tc::sweep(&mut connection, link.ifindex);
                }
                let state = attach(
                    &mut connection,
                    options,
                    programs,
                    mode,
                    &link,
                    names,
                    inode,
                );
                known.interfaces.insert(link.ifindex, state);
            }
            Ok(())
        })
    }

    /// Ends with a namespace; filters are taken off if it can still be entered.
    fn forget(&mut self, inode: Inode) {
        let Some(known) = self.known.remove(&inode) else {
            return;
        };
        self.names.remove_namespace(inode);
        let filters: Vec<_> = known
            .interfaces
            .into_iter()
            .filter_map(|(index, state)| match state {
                State::Attached(attachment) if tc::needs_detach(&attachment) => {
                    Some((index, attachment))
                }
                State::Attached(_) | State::LeftOut => None,
            })
            .collect();
        if filters.is_empty() {
            return;
        }
        let result = self.traveller.visit(inode, &known.holder, || {
            let mut connection = Connection::open()?;
            for (index, attachment) in filters {
                tc::detach(&mut connection, index, attachment);
            }
            Ok(())
        });
        if let Err(error) = result {
            log::debug!("network namespace {inode} was removed before its filters: {error}");
        }
    }

    /// Handles the notifications; returns whether to scan namespaces at once.
    fn handle_news(&mut self) -> bool {
        let mut heard = Vec::new();
        self.news
            .listener_mut()
            .drain(|id, notice| heard.push((id, notice)));
        let mut is_due = false;
        let mut changed = Vec::new();
        for (id, notice) in heard {
            let from = self.speaker(id);
            match notice {
                Notice::Missed => {
                    changed.extend(self.known.keys().copied());
                    is_due = true;
                }
                Notice::NamespaceGone(id) => {
                    let ended = self
                        .known
                        .iter()
                        .find(|(_, known)| known.id == Some(id))
                        .map(|(inode, _)| *inode);
                    if let Some(inode) = ended {
                        self.known.remove(&inode);
                        self.names.remove_namespace(inode);
                    }
                }
                Notice::Link(link) => {
                    if let Some(inode) = from
                        && let Some(known) = self.known.get(&inode)
                    {
                        self.names.set_interface(inode, link.ifindex, &link.name);
                        if !known.interfaces.contains_key(&link.ifindex) {
                            changed.push(inode);
                        }
                    }
                }
                Notice::Gone(link) => {
                    if let Some(inode) = from
                        && let Some(known) = self.known.get_mut(&inode)
                    {
                        known.interfaces.remove(&link.ifindex);
                        self.names.remove_interface(inode, link.ifindex);
                    }
                    // It may have gone into a namespace that is not known yet.
                    is_due |= link.moves;
                }
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for inode in changed {
            self.look_through(inode, false);
        }
        is_due
    }

    /// The namespace that a notice comes from.
    fn speaker(&self, id: Option<i32>) -> Option<Inode> {
        match (&self.news, id) {
            (News::Home(_), None) => Some(self.traveller.home()),
            (News::Home(_), Some(_)) | (News::Everywhere { .. }, None) => None,
            (News::Everywhere { .. }, Some(_)) => self
                .known
                .iter()
                .find(|(_, known)| known.id == id)
                .map(|(inode, _)| *inode),
        }
    }
}

impl News {
    fn listener(&self) -> &Listener {
        match self {
            Self::Everywhere { listener, .. } | Self::Home(listener) => listener,
        }
    }

    fn listener_mut(&mut self) -> &mut Listener {
        match self {
            Self::Everywhere { listener, .. } | Self::Home(listener) => listener,
        }
    }
}

fn pollfd(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

fn is_broken(fd: &libc::pollfd) -> bool {
    fd.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0
}

/// Interfaces of the connection's namespace; asked again if they changed meanwhile.
fn list(connection: &mut Connection) -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    for _ in 0..3 {
        links.clear();
        if connection.dump(rtnetlink::links(), |body| {
            links.extend(rtnetlink::link(body))
        })? {
            break;
        }
    }
    Ok(links)
}

fn attach(
    connection: &mut Connection,
    options: &InterfaceOptions,
    programs: &Programs,
    mode: &mut TcMode,
    link: &Link,
    names: &Names,
    inode: Inode,
) -> State {
    if !scope::is_wanted(options, link) {
        return State::LeftOut;
    }
    let problem = |why: String| {
        let what = format!("interface {} in network namespace {inode}", link.name);
        names.add_problem(&what, why);
    };
    let Some(pair) = scope::pair(programs, link.link_type) else {
        problem(format!("unsupported link type {}", link.link_type));
        return State::LeftOut;
    };
    match tc::attach(connection, mode, link.ifindex, pair) {
        Ok(attachment) => State::Attached(attachment),
        // Gone between listing and attaching.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => State::LeftOut,
        Err(error) => {
            problem(cause(&error));
            State::LeftOut
        }
    }
}
