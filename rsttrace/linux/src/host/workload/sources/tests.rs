#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ID: &str = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
const UID: &str = "8d3a5f2e-1b6c-4e9f-a7d4-0c2b5e8f1a36";
const STATIC_UID: &str = "1f2e3d4c5b6a79880123456789abcdef";

const CONTAINERD_SPEC: &str = r#"{"ociVersion":"1.1.0","process":{"args":["nginx"]},"annotations":{
    "io.kubernetes.cri.container-name":"nginx","io.kubernetes.cri.container-type":"container",
    "io.kubernetes.cri.image-name":"docker.io/library/nginx:1.27","io.kubernetes.cri.sandbox-name":"web-7d4b9c5f6d-x2x4v",
    "io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"8d3a5f2e-1b6c-4e9f-a7d4-0c2b5e8f1a36"}}"#;
const CRI_O_SPEC: &str = r#"{"annotations":{"io.kubernetes.pod.name":"web-7d4b9c5f6d-x2x4v","io.kubernetes.pod.namespace":"shop",
    "io.kubernetes.pod.uid":"8d3a5f2e-1b6c-4e9f-a7d4-0c2b5e8f1a36","io.kubernetes.container.name":"nginx",
    "io.kubernetes.cri-o.ImageName":"docker.io/library/nginx:1.27"}}"#;
const DOCKER: &str = r#"{"ID":"6b86","Name":"/shop-web-1","Config":{"Image":"nginx:1.27","Env":["A=b"],"Labels":{
    "com.docker.compose.project":"shop","com.docker.compose.service":"web"}}}"#;

/// Files of a node.
struct Node(tempfile::TempDir);

impl Node {
    fn new(files: &[(&str, &str)]) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            node.write(path, text);
        }
        node
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        let path = path.replace("<id>", ID).replace("<uid>", UID);
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn names_with(&self, lists: &mut Lists, id: Option<&str>, uid: Option<&str>) -> Workload {
        names(&Root::at(self.0.path()).unwrap(), lists, id, uid)
    }

    fn names(&self, id: Option<&str>, uid: Option<&str>) -> Workload {
        self.names_with(&mut Lists::default(), id, uid)
    }
}

/// (name, namespace, pod, container, image)
fn workload(parts: [&str; 5]) -> Workload {
    let [name, namespace, pod, container, image] =
        parts.map(|part| (!part.is_empty()).then(|| Word::from(part)));
    Workload {
        name,
        namespace,
        pod,
        container,
        image,
    }
}

const POD: &str = "web-7d4b9c5f6d-x2x4v";
const LINK: &str = "/var/log/containers/web-7d4b9c5f6d-x2x4v_shop_nginx-<id>.log";
const LOGS: &str = "/var/log/pods/shop_web-7d4b9c5f6d-x2x4v_<uid>/nginx/0.log";
const DOCKER_FILE: &str = "/var/lib/docker/containers/<id>/config.v2.json";
const SPEC_FILE: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/config.json";
const CRI_O_FILE: &str = "/run/containers/storage/overlay-containers/<id>/userdata/config.json";
const PODMAN_FILE: &str = "/var/lib/containers/storage/overlay-containers/containers.json";

#[test]
fn each_source_names_what_it_knows() {
    let podman = format!(
        r#"[{{"id":"{}","names":["other"],"metadata":"{{}}"}},
            {{"id":"{ID}","names":["web"],"image":"1","layer":"2","created":"2026-01-01T00:00:00Z",
              "metadata":"{{\"image-name\":\"docker.io/library/nginx:1.27\",\"name\":\"web\"}}"}}]"#,
        "0".repeat(64)
    );
    let of_docker_kubelet = r#"{"Name":"/k8s_nginx_web","Config":{"Image":"nginx@sha256:00","Labels":{
        "io.kubernetes.pod.name":"web-7d4b9c5f6d-x2x4v","io.kubernetes.pod.namespace":"shop","io.kubernetes.container.name":"nginx",
        "io.kubernetes.pod.uid":"8d3a5f2e-1b6c-4e9f-a7d4-0c2b5e8f1a36"}}}"#;
    let nerdctl = r#"{"annotations":{"nerdctl/name":"web","nerdctl/namespace":"default"}}"#;
    let full = ["web", "shop", POD, "nginx", "docker.io/library/nginx:1.27"];
    // (what it is, file, its text, whether the cgroup path has a pod, names)
    let cases = [
        (
            "kubelet, container",
            LINK,
            "",
            true,
            ["web", "shop", POD, "nginx", ""],
        ),
        ("kubelet, pod", LOGS, "", true, ["web", "shop", POD, "", ""]),
        ("containerd", SPEC_FILE, CONTAINERD_SPEC, true, full),
        (
            "containerd of k3s",
            "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/<id>/config.json",
            CONTAINERD_SPEC,
            true,
            full,
        ),
        (
            "nerdctl",
            "/run/containerd/io.containerd.runtime.v2.task/default/<id>/config.json",
            nerdctl,
            false,
            ["", "", "", "web", ""],
        ),
        ("CRI-O", CRI_O_FILE, CRI_O_SPEC, true, full),
        (
            "Docker",
            DOCKER_FILE,
            DOCKER,
            false,
            ["shop/web", "", "", "shop-web-1", "nginx:1.27"],
        ),
        (
            "Docker below the kubelet",
            DOCKER_FILE,
            of_docker_kubelet,
            true,
            ["web", "shop", POD, "nginx", "nginx@sha256:00"],
        ),
        (
            "Podman, --rm",
            "/var/lib/containers/storage/overlay-containers/volatile-containers.json",
            &podman,
            false,
            ["", "", "", "web", "docker.io/library/nginx:1.27"],
        ),
        (
            "Podman",
            PODMAN_FILE,
            &podman,
            false,
            ["", "", "", "web", "docker.io/library/nginx:1.27"],
        ),
    ];
    for (what, file, text, has_pod, expected) in cases {
        let node = Node::new(&[(file, text)]);
        let found = node.names(Some(ID), has_pod.then_some(UID));
        assert_eq!(found, workload(expected), "{what}");
        // Another container of another pod.
        let (id, uid) = ("f".repeat(64), UID.replace('8', "9"));
        let found = node.names(Some(&id), has_pod.then_some(&uid));
        assert_eq!(found, Workload::default(), "{what}, other");
    }
}

#[test]
fn the_list_of_podman_is_parsed_again_only_when_its_file_has_changed() {
    let list_of = |name| format!(r#"[{{"id":"{ID}","names":["{name}"]}}]"#);
    let node = Node::new(&[(PODMAN_FILE, &list_of("web"))]);
    let path = node.path(PODMAN_FILE);
    let mut lists = Lists::default();
    let mut container = || node.names_with(&mut lists, Some(ID), None).container;
    assert_eq!(container().as_deref(), Some("web"));
    let at = fs::metadata(&path).unwrap().modified().unwrap();
    let same_stamp = || {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(at).unwrap();
    };
    node.write(PODMAN_FILE, &list_of("new"));
    same_stamp();
    assert_eq!(container().as_deref(), Some("web"));
    node.write(PODMAN_FILE, &list_of("newer"));
    same_stamp();
    assert_eq!(container().as_deref(), Some("newer"));
    fs::remove_file(&path).unwrap();
    assert_eq!(container(), None);
}

#[test]
fn the_kubelet_names_and_the_runtime_adds_the_image() {
    let node = Node::new(&[(LINK, ""), (LOGS, ""), (SPEC_FILE, CONTAINERD_SPEC)]);
    let full = ["web", "shop", POD, "nginx", "docker.io/library/nginx:1.27"];
    assert_eq!(node.names(Some(ID), Some(UID)), workload(full));
    // A static pod has a hash for its uid.
    let node = Node::new(&[(
        "/var/log/pods/kube-system_etcd-node1_1f2e3d4c5b6a79880123456789abcdef/etcd/0.log",
        "",
    )]);
    let found = node.names(None, Some(STATIC_UID));
    assert_eq!(found, workload(["", "kube-system", "etcd-node1", "", ""]));
}

#[test]
fn a_file_that_contradicts_the_cgroup_path_or_the_kubelet_names_nothing() {
    let other = CONTAINERD_SPEC.replace("\"shop\"", "\"other\"");
    let node = Node::new(&[(LINK, ""), (SPEC_FILE, &other)]);
    let found = node.names(Some(ID), Some(UID));
    assert_eq!(found, workload(["web", "shop", POD, "nginx", ""]));
    let uid = UID.replace('8', "9");
    for (file, text) in [(SPEC_FILE, CONTAINERD_SPEC), (CRI_O_FILE, CRI_O_SPEC)] {
        let node = Node::new(&[(file, text)]);
        assert_eq!(node.names(Some(ID), Some(&uid)), Workload::default());
    }
}

#[test]
fn labels_that_an_image_can_bring_name_nothing_by_themselves() {
    let labels = r#"{"Name":"/evil","Config":{"Image":"evil","Labels":{
        "com.docker.compose.project":"shop","com.docker.compose.service":"web","com.docker.swarm.service.name":"shop_web",
        "io.kubernetes.pod.name":"etcd","io.kubernetes.pod.namespace":"kube-system","io.kubernetes.container.name":"etcd"}}}"#;
    let node = Node::new(&[(DOCKER_FILE, labels)]);
    let found = node.names(Some(ID), None);
    assert_eq!(found, workload(["", "", "", "evil", "evil"]));
    let found = node.names(Some(ID), Some(UID));
    assert_eq!(found, workload(["", "", "", "", "evil"]));
    let swarm = labels.replace("/evil", "/shop_web.1.abcdef");
    let node = Node::new(&[(DOCKER_FILE, &swarm)]);
    assert_eq!(node.names(Some(ID), None).name.as_deref(), Some("shop_web"));
}

#[test]
fn what_others_can_write_is_not_believed() {
    for (mode, believed) in [(0o644, true), (0o640, true), (0o664, false), (0o646, false)] {
        let node = Node::new(&[(DOCKER_FILE, DOCKER)]);
        fs::set_permissions(node.path(DOCKER_FILE), Permissions::from_mode(mode)).unwrap();
        let found = node.names(Some(ID), None);
        assert_eq!(found != Workload::default(), believed, "{mode:o}");
    }
    let node = Node::new(&[(LINK, "")]);
    let folder = node.path("/var/log/containers");
    fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    assert_eq!(node.names(Some(ID), None), Workload::default());
    if nix::unistd::geteuid().is_root() {
        let node = Node::new(&[(DOCKER_FILE, DOCKER)]);
        std::os::unix::fs::chown(node.path(DOCKER_FILE), Some(65_534), None).unwrap();
        assert_eq!(node.names(Some(ID), None), Workload::default());
    }
}

#[test]
fn links_stay_below_the_root_and_pipes_and_long_files_are_not_read() {
    let outside = Node::new(&[(DOCKER_FILE, DOCKER)]);
    let node = Node::new(&[("/var/lib/x", "")]);
    symlink(
        outside.path("/var/lib/docker"),
        node.path("/var/lib/docker"),
    )
    .unwrap();
    assert_eq!(node.names(Some(ID), None), Workload::default());
    // As if the data of Docker were on another disk: an absolute link is one from the root on.
    let node = Node::new(&[
        ("/data/docker/containers/<id>/config.v2.json", DOCKER),
        ("/var/lib/x", ""),
    ]);
    symlink("/data/docker", node.path("/var/lib/docker")).unwrap();
    assert_eq!(
        node.names(Some(ID), None).container.as_deref(),
        Some("shop-web-1")
    );

    let node = Node::new(&[("/var/lib/docker/containers/<id>/x", "")]);
    let pipe = node.path(DOCKER_FILE);
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(node.names(Some(ID), None), Workload::default());

    let long = format!("{DOCKER}{}", " ".repeat(MOST_BYTES as usize));
    let node = Node::new(&[(DOCKER_FILE, &long)]);
    assert_eq!(node.names(Some(ID), None), Workload::default());
}

#[test]
fn only_a_name_that_a_deployment_makes_is_inferred() {
    for (pod, expected) in [
        ("web-7d4b9c5f6d-x2x4v", Some("web")),
        ("my-web-app-6b8c9d4f55-zxcvb", Some("my-web-app")),
        ("web-6b8c9d4f-zxcvb", Some("web")),
        // A StatefulSet or a pod of that name; a DaemonSet or a pod of that name; a Job or a Deployment.
        ("web-0", None),
        ("fluentd-x2x4v", None),
        ("web-https", None),
        ("backup-28345670-x2x4v", None),
        ("web-frontend-https", None),
        ("-7d4b9c5f6d-x2x4v", None),
        ("", None),
    ] {
        assert_eq!(deployment(pod), expected, "{pod}");
    }
}

/// A value of each kind of file, with the same text for each name and image.
fn files_that_say(text: &str) -> [(&'static str, Value); 4] {
    let spec = |keys: &[&str]| {
        let annotations: HashMap<&str, &str> = keys.iter().map(|key| (*key, text)).collect();
        json!({ "annotations": annotations })
    };
    let containerd = spec(&[
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.container-name",
        "io.kubernetes.cri.image-name",
    ]);
    let cri_o = spec(&[
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.name",
        "io.kubernetes.container.name",
        "io.kubernetes.cri-o.ImageName",
    ]);
    let docker = json!({ "Name": format!("/{text}"), "Config": { "Image": text } });
    let metadata = json!({ "image-name": text }).to_string();
    let podman = json!([{ "id": ID, "names": [text], "metadata": metadata }]);
    [
        (SPEC_FILE, containerd),
        (CRI_O_FILE, cri_o),
        (DOCKER_FILE, docker),
        (PODMAN_FILE, podman),
    ]
}

fn is_safe(found: Workload) -> bool {
    let fits = |word: Option<Word>, most| {
        word.is_none_or(|it| it.len() <= most && it.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    let names = [found.name, found.namespace, found.pod, found.container];
    names.into_iter().all(|it| fits(it, LONGEST_NAME)) && fits(found.image, LONGEST_IMAGE)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_content_is_a_panic_or_an_unsafe_name(
        text in prop_oneof![".{0,200}", "[a-zA-Z0-9][a-zA-Z0-9._-]{0,300}", "[a-zA-Z0-9._/:@+ -]{0,600}"],
        key in "(Name|Config|annotations|id|metadata|names)",
    ) {
        for (file, value) in files_that_say(&text) {
            let node = Node::new(&[(file, &value.to_string())]);
            let found = node.names(Some(ID), None);
            prop_assert_eq!(&found.container, &name(&text), "{}", file);
            prop_assert_eq!(&found.image, &image(&text), "{}", file);
            prop_assert!(is_safe(found));
            for text in [text.clone(), json!({ &key: text }).to_string()] {
                node.write(file, &text);
                prop_assert!(is_safe(node.names(Some(ID), None)));
            }
        }
    }
}
