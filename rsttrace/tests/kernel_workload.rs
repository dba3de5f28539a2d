//! Names of containers and pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod kernel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kernel::{Watch, eventually, netns_inode, private_namespace, rsttrace};
use serde_json::{Value, json};

const KUBERNETES_ID: &str = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
const DOCKER_ID: &str = "d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35";
const UID: &str = "8d3a5f2e_1b6c_4e9f_a7d4_0c2b5e8f1a36";

/// What tracing keeps, and nothing else (docs/PERMISSIONS.md).
const CAPABILITIES: &str =
    "+bpf,+perfmon,+net_admin,+net_broadcast,+sys_admin,+sys_ptrace,+dac_read_search";

/// Control groups that go when the test ends, the innermost first.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// A group of the v2 hierarchy; its folder.
    fn create(&mut self, path: &str) -> PathBuf {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let v2 = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let folder = words.next()?;
            (words.next() == Some("cgroup2")).then_some(folder)
        });
        let mut folder = PathBuf::from(v2.unwrap());
        for name in path.split('/') {
            folder.push(name);
            if !folder.exists() {
                fs::create_dir(&folder).unwrap();
                self.0.insert(0, folder.clone());
            }
        }
        folder
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for folder in &self.0 {
            // The processes in there have been killed and may still be on their way out.
            eventually("the end of a control group", || fs::remove_dir(folder).ok());
        }
    }
}

/// Resets connections to itself for as long as it lives.
const CLIENT: &str = "
import socket, struct, time
listener = socket.create_server(('127.0.0.1', 0))
while True:
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()
    server.close()
    time.sleep(0.1)
";

/// `watch` beside two containers, in its own PID and mount namespaces, so that the files of the node are staged ones. It runs with the
/// capabilities of tracing alone, as a user who owns none of the files.
fn staged(kubernetes: &Path, docker: &Path) -> Command {
    let inner = rsttrace(&["watch", "-o", "json", "--noise", "--netns"]);
    let script = format!(
        r#"set -e
umask 077
mount -t tmpfs -o mode=755 tmpfs /var/log
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /var/log/containers
chmod 755 /var/log/containers
: > /var/log/containers/web-7d4b9c5f6d-x2x4v_shop_nginx-{KUBERNETES_ID}.log
mkdir -p /var/lib/docker/containers/{DOCKER_ID}
chmod 710 /var/lib/docker /var/lib/docker/containers
echo '{{"Name":"/shop-db-1","Config":{{"Image":"postgres:17","Labels":{{"com.docker.compose.project":"shop","com.docker.compose.service":"db"}}}}}}' \
    > /var/lib/docker/containers/{DOCKER_ID}/config.v2.json
for group in "$1" "$2"; do
    (echo 0 > "$group/cgroup.procs"; exec python3 -c "$3" > /dev/null) &
done
shift 3
setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,{CAPABILITIES} --ambient-caps=-all,{CAPABILITIES} \
    --bounding-set=-all,{CAPABILITIES} "$@"
# The first process is this shell, which --kill-child ends, and the others with it: a new user would undo that.
exit $?
"#
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", &script, "sh"]);
    command.arg(kubernetes).arg(docker).arg(CLIENT);
    command.arg(inner.get_program()).args(inner.get_args());
    command.arg(netns_inode().to_string());
    command.env_remove("RUST_LOG");
    command
}

#[test]
#[ignore = "needs root"]
fn a_process_in_a_container_has_the_names_that_the_node_keeps() {
    private_namespace(|| {
        let mut groups = Groups(Vec::new());
        let kubernetes = groups.create(&format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID}.slice/cri-containerd-{KUBERNETES_ID}.scope"
        ));
        let docker = groups.create(&format!("system.slice/docker-{DOCKER_ID}.scope"));
        let watch = Watch::spawn(&mut staged(&kubernetes, &docker));
        let workload_of = |id: &str| {
            let is_named = |record: &Value| {
                let process = &record["process"];
                process["container_id"] == id && process["workload"] != Value::Null
            };
            watch.await_record(id, is_named)["process"]["workload"].clone()
        };
        let of_pod = json!({"name": "web", "namespace": "shop", "pod": "web-7d4b9c5f6d-x2x4v", "container": "nginx"});
        assert_eq!(workload_of(KUBERNETES_ID), of_pod);
        let of_docker =
            json!({"name": "shop/db", "container": "shop-db-1", "image": "postgres:17"});
        assert_eq!(workload_of(DOCKER_ID), of_docker);
        // The groups go after their processes.
        drop(watch);
    });
}
