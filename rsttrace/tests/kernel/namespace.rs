//! Network namespaces of the tests: those of the lab, where a failure fails the test.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use rsttrace_lab::counter;
use rsttrace_lab::namespace;

/// Runs `test` on a thread in a new namespace. What the thread starts is in there, too.
pub fn private_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    Namespace::new().enter(test)
}

/// Output of a command, in the calling thread's namespace.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The same of a command in one line.
pub fn sh(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    run(words[0], &words[1..])
}

pub fn netns_inode() -> u32 {
    namespace::own_inode().unwrap()
}

pub struct Namespace(rsttrace_lab::Namespace);

impl Namespace {
    pub fn new() -> Self {
        rsttrace_lab::Namespace::new().unwrap().into()
    }

    /// Runs `work` on a thread in there.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.enter(work).unwrap()
    }

    pub fn set(&self, name: &str, value: &str) {
        self.0.sysctl(name, value).unwrap();
    }
}

impl Deref for Namespace {
    type Target = rsttrace_lab::Namespace;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<rsttrace_lab::Namespace> for Namespace {
    fn from(namespace: rsttrace_lab::Namespace) -> Self {
        Self(namespace)
    }
}

/// Client, router and server, as the lab of the demo has them; the router forwards and has the address of a service.
pub struct Route {
    pub client: Namespace,
    pub router: Namespace,
    pub server: Namespace,
}

impl Route {
    pub fn new() -> Self {
        let route = Self {
            client: Namespace::new(),
            router: Namespace::new(),
            server: Namespace::new(),
        };
        let router = &route.router;
        connect(
            (&route.client, "c0", "192.0.2.1/24"),
            (router, "bc", "192.0.2.254/24"),
        );
        connect(
            (&route.server, "s0", "203.0.113.3/24"),
            (router, "bs", "203.0.113.254/24"),
        );
        for (end, gateway) in [
            (&route.client, "192.0.2.254"),
            (&route.server, "203.0.113.254"),
        ] {
            end.add_default_route(gateway.parse().unwrap()).unwrap();
        }
        let service = "198.51.100.2/32".parse().unwrap();
        router.add_address("lo", service).unwrap();
        router.set("ipv4/ip_forward", "1");
        route
    }
}

/// Connects two namespaces: interface and address of each end.
pub fn connect(here: (&Namespace, &str, &str), there: (&Namespace, &str, &str)) {
    let [here_has, there_has] = [here.2, there.2].map(|address| [address.parse().unwrap()]);
    let ends = [
        (&here.0.0, here.1, &here_has[..]),
        (&there.0.0, there.1, &there_has),
    ];
    rsttrace_lab::Namespace::connect(ends).unwrap();
}

/// TcpOutRsts, the kernel's own count of sent resets, of each namespace that a process or /run/netns holds.
pub fn out_resets_by_namespace() -> BTreeMap<u32, u64> {
    let processes = directory("/proc").map(|process| process.join("ns/net"));
    let mut found = BTreeMap::new();
    for path in processes.chain(directory("/run/netns")) {
        // A process may end at any time, and not every entry of /proc is one.
        let Ok(file) = fs::metadata(&path) else {
            continue;
        };
        if let Entry::Vacant(new) = found.entry(file.ino() as u32)
            && let Ok(Ok(count)) = namespace::enter_at(&path, || counter("OutRsts"))
        {
            new.insert(count);
        }
    }
    found
}

fn directory(path: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}
