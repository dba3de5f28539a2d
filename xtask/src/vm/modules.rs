//! Which kernel modules does a guest get, and in which order do they load?

use std::collections::{BTreeMap, BTreeSet};

/// Without these it does not come up: its root is shared by 9p, below a layer.
pub const BOOT: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Loaded before anything runs, where a kernel has them as modules: demo and tests are timed, and loading is slow there. Any other
/// module is loaded when the kernel asks for it, as on every machine.
pub const LAB: [&str; 45] = [
    // libcrc32c, and with it conntrack, asks for it by an alias: no dependency tells.
    "crc32c_generic",
    "8021q",
    "act_gact",
    "act_mirred",
    "af_packet_diag",
    "bridge",
    "cls_bpf",
    "cls_matchall",
    "cls_u32",
    "inet_diag",
    "ip6_tables",
    "ip_tables",
    "ip_vs",
    "ip_vs_rr",
    "macvlan",
    "netlink_diag",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nf_tables",
    "nfnetlink_cttimeout",
    "nft_chain_nat",
    "nft_compat",
    "nft_counter",
    "nft_ct",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_redir",
    "nft_reject_inet",
    "nft_socket",
    "nft_synproxy",
    "nft_tproxy",
    "sch_fq",
    "sch_ingress",
    "sch_netem",
    "sch_tbf",
    "tcp_diag",
    "tun",
    "unix_diag",
    "veth",
    "xt_REDIRECT",
];

/// What modules.dep says: files below the modules' folder, and what each needs.
pub struct Dependencies(BTreeMap<String, (String, Vec<String>)>);

impl Dependencies {
    /// Reads lines such as `kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz`.
    pub fn read(text: &str) -> Self {
        let modules = text.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(name).collect();
            Some((name(file), (file.to_owned(), needs)))
        });
        Self(modules.collect())
    }

    /// The files of these modules with all that they need, each after what it needs. Modules that are built in, or
    /// that this kernel does not have, are left out.
    pub fn closure<'a>(&'a self, modules: &[&str]) -> Vec<&'a str> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for module in modules {
            self.visit(&name(module), &mut seen, &mut order);
        }
        order
    }

    fn visit<'a>(&'a self, module: &str, seen: &mut BTreeSet<String>, order: &mut Vec<&'a str>) {
        let Some((file, needs)) = self.0.get(module) else {
            return;
        };
        if !seen.insert(module.to_owned()) {
            return;
        }
        for needed in needs {
            self.visit(needed, seen, order);
        }
        order.push(file);
    }
}

/// A module's name as the kernel spells it, of its file or of another spelling.
fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio-ring.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/drivers/virtio/virtio-ring.ko.xz:
kernel/loop/a.ko: kernel/loop/b.ko
kernel/loop/b.ko: kernel/loop/a.ko
";

    #[test]
    fn a_module_comes_after_what_it_needs_and_once() {
        let order = Dependencies::read(DEP);
        let order = order.closure(&["9pnet_virtio", "9p", "9pnet"]);
        assert_eq!(
            order,
            [
                "kernel/net/9p/9pnet.ko.xz",
                "kernel/drivers/virtio/virtio-ring.ko.xz",
                "kernel/net/9p/9pnet_virtio.ko.xz",
                "kernel/fs/netfs/netfs.ko.xz",
                "kernel/fs/9p/9p.ko.xz",
            ]
        );
    }

    #[test]
    fn what_is_built_in_is_left_out_and_a_circle_ends() {
        let dependencies = Dependencies::read(DEP);
        assert!(dependencies.closure(&["virtio_pci"]).is_empty());
        assert_eq!(dependencies.closure(&["a"]).len(), 2);
        assert_eq!(dependencies.closure(&["virtio_ring"]).len(), 1);
    }
}
