//! The files that name containers and pods.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Deserialize;

use super::super::root::{self, Root};
use crate::record::{Word, Workload};

/// Entries of a folder that are looked at. A node has some hundred pods.
const MOST_ENTRIES: usize = 16_384;
/// Longest description of one container.
const MOST_BYTES: u64 = 1 << 20;
/// Longest list of all containers.
const MOST_BYTES_OF_ALL: u64 = 4 << 20;
/// Longest name. Kubernetes allows 253 characters.
const LONGEST_NAME: usize = 253;
/// Longest image: registry, repository, tag and digest.
const LONGEST_IMAGE: usize = 512;

/// Folders with one folder for each container of containerd, and in it the configuration that its OCI runtime gets.
const CONTAINERD: [&str; 4] = [
    "/run/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io",
    "/run/containerd/io.containerd.runtime.v2.task/default",
];

/// The names of a container by its id, if they do not contradict the uid of its pod.
type Source = fn(&Root, &str, Option<&str>) -> Option<Workload>;

/// The names of a container by its id (64 hexadecimal digits), else of a pod by its uid. What is not known stays absent.
pub fn names(root: &Root, lists: &mut Lists, id: Option<&str>, pod_uid: Option<&str>) -> Workload {
    let mut names = Workload::default();
    if let Some(id) = id {
        names = kubelet_container(root, id).unwrap_or_default();
    }
    if let Some(uid) = pod_uid.filter(|_| names.pod.is_none()) {
        names = kubelet_pod(root, uid).unwrap_or_default();
    }
    if let Some(id) = id {
        let sources: [Source; 3] = [containerd, cri_o, docker];
        let found = sources
            .iter()
            .find_map(|source| source(root, id, pod_uid).filter(|it| *it != Workload::default()))
            .or_else(|| lists.find(root, id).map(|it| podman(it, pod_uid)));
        names = merged(names, found.unwrap_or_default());
    }
    names.name = names
        .name
        .or_else(|| names.pod.as_deref().and_then(deployment).map(Word::from));
    names
}

/// What the kubelet says, and the rest from the runtime, unless they contradict each other.
fn merged(kubelet: Workload, runtime: Workload) -> Workload {
    let differs = |one: &Option<Word>, other: &Option<Word>| matches!((one, other), (Some(one), Some(other)) if one != other);
    if differs(&kubelet.pod, &runtime.pod) || differs(&kubelet.namespace, &runtime.namespace) {
        return kubelet;
    }
    Workload {
        name: kubelet.name.or(runtime.name),
        namespace: kubelet.namespace.or(runtime.namespace),
        pod: kubelet.pod.or(runtime.pod),
        container: kubelet.container.or(runtime.container),
        image: kubelet.image.or(runtime.image),
    }
}

/// `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`. A name that was too long for the file system has lost its id.
fn kubelet_container(root: &Root, id: &str) -> Option<Workload> {
    let end = format!("-{id}.log");
    let entries = root.owned_folder(Path::new("/var/log/containers"), MOST_ENTRIES);
    let mut found = entries.filter_map(|entry| {
        let (pod, rest) = entry.to_str()?.strip_suffix(&end)?.split_once('_')?;
        let (namespace, container) = rest.split_once('_')?;
        Some(Workload {
            pod: Some(name(pod)?),
            namespace: Some(name(namespace)?),
            container: Some(name(container)?),
            ..Workload::default()
        })
    });
    found.next()
}

/// `/var/log/pods/NAMESPACE_POD_UID`.
fn kubelet_pod(root: &Root, uid: &str) -> Option<Workload> {
    let end = format!("_{uid}");
    let entries = root.owned_folder(Path::new("/var/log/pods"), MOST_ENTRIES);
    let mut found = entries.filter_map(|entry| {
        let (namespace, pod) = entry.to_str()?.strip_suffix(&end)?.split_once('_')?;
        Some(Workload {
            pod: Some(name(pod)?),
            namespace: Some(name(namespace)?),
            ..Workload::default()
        })
    });
    found.next()
}

/// The configuration of an OCI runtime, as far as it is used.
#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: HashMap<String, String>,
}

fn annotations(root: &Root, path: &str) -> Option<HashMap<String, String>> {
    let bytes = root.owned_file(Path::new(path), MOST_BYTES)?;
    let spec: Spec = serde_json::from_slice(&bytes).ok()?;
    Some(spec.annotations)
}

fn containerd(root: &Root, id: &str, pod_uid: Option<&str>) -> Option<Workload> {
    let annotations = CONTAINERD
        .iter()
        .find_map(|folder| annotations(root, &format!("{folder}/{id}/config.json")))?;
    let get = |key: &str| annotations.get(key).map(String::as_str);
    if contradicts(get("io.kubernetes.cri.sandbox-uid"), pod_uid) {
        return None;
    }
    Some(Workload {
        name: None,
        namespace: get("io.kubernetes.cri.sandbox-namespace").and_then(name),
        pod: get("io.kubernetes.cri.sandbox-name").and_then(name),
        container: get("io.kubernetes.cri.container-name")
            .or_else(|| get("nerdctl/name"))
            .and_then(name),
        image: get("io.kubernetes.cri.image-name").and_then(image),
    })
}

fn cri_o(root: &Root, id: &str, pod_uid: Option<&str>) -> Option<Workload> {
    let path = format!("/run/containers/storage/overlay-containers/{id}/userdata/config.json");
    let annotations = annotations(root, &path)?;
    let get = |key: &str| annotations.get(key).map(String::as_str);
    if contradicts(get("io.kubernetes.pod.uid"), pod_uid) {
        return None;
    }
    Some(Workload {
        name: None,
        namespace: get("io.kubernetes.pod.namespace").and_then(name),
        pod: get("io.kubernetes.pod.name").and_then(name),
        // The sandbox of a pod.
        container: get("io.kubernetes.container.name")
            .filter(|name| *name != "POD")
            .and_then(name),
        image: get("io.kubernetes.cri-o.ImageName").and_then(image),
    })
}

/// `config.v2.json` of Docker, as far as it is used.
#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Config", default)]
    config: DockerConfig,
}

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "Labels", default)]
    labels: Option<HashMap<String, String>>,
}

fn docker(root: &Root, id: &str, pod_uid: Option<&str>) -> Option<Workload> {
    let path = format!("/var/lib/docker/containers/{id}/config.v2.json");
    let bytes = root.owned_file(Path::new(&path), MOST_BYTES)?;
    let DockerContainer { name: own, config } = serde_json::from_slice(&bytes).ok()?;
    let own = own.strip_prefix('/').unwrap_or(&own);
    let labels = config.labels.unwrap_or_default();
    let get = |key: &str| labels.get(key).map(String::as_str);
    let mut names = Workload {
        image: image(&config.image),
        ..Workload::default()
    };
    // Labels may come from the image: they count if the cgroup path or the name of the container agrees.
    let uid = get("io.kubernetes.pod.uid");
    if pod_uid.is_some() {
        if uid == pod_uid {
            names.namespace = get("io.kubernetes.pod.namespace").and_then(name);
            names.pod = get("io.kubernetes.pod.name").and_then(name);
            names.container = get("io.kubernetes.container.name")
                .filter(|name| *name != "POD")
                .and_then(name);
        }
        return Some(names);
    }
    names.container = name(own);
    let composed = get("com.docker.compose.project")
        .and_then(name)
        .zip(get("com.docker.compose.service").and_then(name))
        .filter(|(project, service)| {
            let starts = |separator| {
                let rest = own.strip_prefix(project.as_str());
                let rest = rest.and_then(|rest| rest.strip_prefix(separator));
                let rest = rest.and_then(|rest| rest.strip_prefix(service.as_str()));
                rest.is_some_and(|rest| rest.starts_with(separator))
            };
            starts('-') || starts('_')
        })
        .map(|(project, service)| Word::from(format!("{project}/{service}")));
    names.name = composed.or_else(|| {
        let service = get("com.docker.swarm.service.name").and_then(name)?;
        let rest = own.strip_prefix(service.as_str())?;
        rest.starts_with('.').then_some(service)
    });
    Some(names)
}

/// A container of `containers.json` of Podman and CRI-O, as far as it is used.
#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON in JSON.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct StoredMetadata {
    #[serde(rename = "image-name", default)]
    image: String,
    /// Only CRI-O has it.
    #[serde(rename = "pod-id")]
    pod_id: Option<String>,
}

/// Podman's lists. The second one has the containers that a reboot removes (`--rm`).
const PODMAN: [&str; 2] = [
    "/var/lib/containers/storage/overlay-containers/containers.json",
    "/var/lib/containers/storage/overlay-containers/volatile-containers.json",
];

/// Containers of Podman.
#[derive(Default)]
pub struct Lists([List; 2]);

impl Lists {
    fn find(&mut self, root: &Root, id: &str) -> Option<&StoredContainer> {
        let mut lists = self.0.iter_mut().zip(PODMAN);
        lists.find_map(|(list, path)| {
            let all = list.read(root, Path::new(path));
            all.iter().find(|container| container.id == id)
        })
    }
}

/// A list of containers. It is parsed again when its file has changed.
#[derive(Default)]
struct List {
    /// Inode, time of the last change in seconds and nanoseconds, size. Absent: there is no list.
    stamp: Option<(u64, i64, i64, u64)>,
    containers: Vec<StoredContainer>,
}

impl List {
    fn read(&mut self, root: &Root, path: &Path) -> &[StoredContainer] {
        let opened = root.open_owned(path);
        let stamp =
            |about: &Metadata| (about.ino(), about.mtime(), about.mtime_nsec(), about.len());
        let stamp = opened.as_ref().map(|(_, about)| stamp(about));
        if self.stamp != stamp {
            self.stamp = stamp;
            let bytes = opened.and_then(|(file, _)| root::content(file, MOST_BYTES_OF_ALL));
            let containers = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            self.containers = containers.unwrap_or_default();
        }
        &self.containers
    }
}

fn podman(container: &StoredContainer, pod_uid: Option<&str>) -> Workload {
    let metadata: StoredMetadata = serde_json::from_str(&container.metadata).unwrap_or_default();
    let is_podman = pod_uid.is_none() && metadata.pod_id.is_none();
    Workload {
        container: container
            .names
            .first()
            .filter(|_| is_podman)
            .and_then(|it| name(it)),
        image: image(&metadata.image),
        ..Workload::default()
    }
}

fn contradicts(one: Option<&str>, other: Option<&str>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

/// The Deployment (or the like, such as a Rollout of Argo) of a pod, if its name ends with what one of its ReplicaSets gives it: a hash
/// in the letters that Kubernetes encodes digits with, then five random letters. Names of other owners cannot be told from names that
/// end so by choice.
/// <https://github.com/kubernetes/apimachinery/blob/v0.31.0/pkg/util/rand/rand.go>
fn deployment(pod: &str) -> Option<&str> {
    const DIGITS: &str = "456789bcdf";
    const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
    let (rest, random) = pod.rsplit_once('-')?;
    let (deployment, hash) = rest.rsplit_once('-')?;
    let is_random = random.len() == 5 && random.chars().all(|it| LETTERS.contains(it));
    let is_hash = (8..=10).contains(&hash.len()) && hash.chars().all(|it| DIGITS.contains(it));
    (is_random && is_hash && !deployment.is_empty()).then_some(deployment)
}

/// A name in the letters that Kubernetes, Docker and Podman allow.
fn name(text: &str) -> Option<Word> {
    let is_name = (1..=LONGEST_NAME).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_name.then(|| Word::from(text))
}

/// An image: a name with registry, tag or digest, or an id.
fn image(text: &str) -> Option<Word> {
    let is_image = (1..=LONGEST_IMAGE).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@+".contains(&byte));
    is_image.then(|| Word::from(text))
}

#[cfg(test)]
mod tests;
