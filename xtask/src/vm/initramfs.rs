//! The initramfs of a guest, which mounts the host's files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// The guest needs the first four to boot: its root is shared by 9p, below an overlay. The others are loaded early, because demo and
/// tests are timed and loading is slow in a guest. Other modules are loaded when the kernel requests them.
const MODULES: &str = "virtio_pci 9pnet_virtio 9p overlay \
    crc32c_generic 8021q act_gact act_mirred af_packet_diag bridge cls_bpf cls_matchall cls_u32 inet_diag ip6_tables ip_tables \
    ip_vs ip_vs_rr macvlan netlink_diag nf_conntrack nf_conntrack_netlink nf_nat nf_reject_ipv4 nf_reject_ipv6 nf_tables \
    nfnetlink_cttimeout nft_chain_nat nft_compat nft_counter nft_ct nft_limit nft_masq nft_nat nft_numgen nft_redir \
    nft_reject_inet nft_socket nft_synproxy nft_tproxy sch_fq sch_ingress sch_netem sch_tbf tcp_diag tun unix_diag veth \
    xt_REDIRECT";

/// Packs busybox, modules from `root`/lib/modules/RELEASE, and init. Uncompressed, because reading is faster than decompression in
/// software emulation.
pub fn make(root: &Path, release: &str, into: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("create a folder for the initramfs")?;
    let folder = |name: &str| {
        let folder = scratch.path().join(name);
        fs::create_dir(&folder).map(|()| folder)
    };
    let busybox = command::find_in_path("busybox").context("busybox is not installed")?;
    fs::copy(&busybox, folder("bin")?.join("busybox")).context("copy busybox")?;
    let modules = folder("modules")?;
    for (number, module) in in_order(root, release)?.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split_once(".ko").map_or(&*name, |(name, _)| name);
        // init loads them in the order of their names.
        unpack(module, &modules.join(format!("{number:03}-{name}.ko")))?;
    }
    let init = scratch.path().join("init");
    fs::write(&init, include_str!("guest/init.sh")).context("write init")?;
    let script = r#"cd "$0" && chmod 755 init && find . | busybox cpio -o -H newc >"$1""#;
    let mut sh = Command::new("sh");
    sh.args(["-c", script]).args([scratch.path(), into]);
    command::output(&mut sh).map(drop)
}

/// The files of the modules, each after its dependencies. Modules that are built in, or missing in this kernel, are left out.
fn in_order(root: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let mut modprobe = Command::new(super::kernel::tool("modprobe"));
    modprobe
        .arg("-d")
        .arg(root)
        .args(["-S", release, "--show-depends", "-a"]);
    // It fails for a missing module, but lists the others.
    let output = modprobe.args(MODULES.split_whitespace()).output();
    let output = output.context("start modprobe")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut seen = BTreeSet::new();
    let files = text.lines().filter_map(|line| {
        let file = line.strip_prefix("insmod ")?.trim();
        seen.insert(file.to_owned()).then(|| file.into())
    });
    Ok(files.collect())
}

fn unpack(module: &Path, into: &Path) -> Result<()> {
    let program = match module.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz -dc",
        Some("zst") => "zstd -dc",
        Some("gz") => "gzip -dc",
        _ => "cat",
    };
    let script = format!(r#"{program} <"$0" >"$1""#);
    let mut sh = Command::new("sh");
    command::output(sh.args(["-c", &script]).args([module, into])).map(drop)
}
