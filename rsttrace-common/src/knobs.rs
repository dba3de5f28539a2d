//! What user space sets before a program is loaded: read-only globals, so the verifier drops what is off.

use crate::reset;

/// Offset of a member that the running kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// Events go through the BPF ring buffer.
pub const TRANSPORT_RING: u32 = 0;
/// Events go through a perf event array.
pub const TRANSPORT_PERF: u32 = 1;

/// Slots of each table unless user space says otherwise.
pub const DEFAULT_SLOTS: u32 = 16_384;

/// The kernel lends socket storage to tracing programs (5.11).
pub const HELPER_SOCKET_STORAGE: u32 = 1;
/// The kernel makes socket cookies for tracing programs (5.12); without it a socket's cookie is what others made of it.
pub const HELPER_SOCKET_COOKIE: u32 = 2;
/// The kernel hands out the running task with its type (5.11); without it the task is copied from.
pub const HELPER_TYPED_TASK: u32 = 4;
/// The kernel finds the socket of a file (5.11); without it the file is copied from.
pub const HELPER_FILE_SOCKET: u32 = 8;

/// Slots of the table of closed listeners, a power of two.
pub const LISTENER_SLOTS: u32 = 1024;

/// Names of the globals, as user space overrides them.
pub mod names {
    /// [`super::Offsets`].
    pub const OFFSETS: &str = "OFFSETS";
    /// `u32`: a `TRANSPORT_` constant.
    pub const TRANSPORT: &str = "TRANSPORT";
    /// `u32`: slots of the table of tombstones, a power of two.
    pub const TOMBSTONE_SLOTS: &str = "TOMBSTONE_SLOTS";
    /// `u32`: slots of the table of sockets' owners, a power of two.
    pub const OWNER_SLOTS: &str = "OWNER_SLOTS";
    /// `u32`: slots of the table of TTL baselines, a power of two.
    pub const BASELINE_SLOTS: &str = "BASELINE_SLOTS";
    /// `u32`: the `HELPER_` flags of what the running kernel grants.
    pub const HELPERS: &str = "HELPERS";
    /// `u64`: nanoseconds between details of one class, port and network, see `flood`; 0: each reset is described.
    pub const DETAIL_INTERVAL_NS: &str = "DETAIL_INTERVAL_NS";
    /// `u32`: 1 to log rare paths through aya-log.
    pub const DEBUG: &str = "DEBUG";
    /// `u32`: inode of the tracer's pid namespace, 0 for the initial one.
    pub const PID_NAMESPACE: &str = "PID_NAMESPACE";
    /// `u32`: 1 for programs that return at once.
    pub const EMPTY: &str = "EMPTY";
}

macro_rules! offsets {
    ($($(#[$meta:meta])* $field:ident => $structure:literal . $path:literal),* $(,)?) => {
        wire! {
            /// Byte offsets of the kernel's members, resolved from the running kernel's BTF; [`ABSENT`] where it has none.
            pub struct Offsets {
                $($(#[$meta])* pub $field: u16,)*
                /// Bits to shift the byte at `chrono_type` right by.
                pub chrono_type_shift: u16,
                /// Bits to shift the byte at `repair` right by.
                pub repair_shift: u16,
                /// Bits to shift the byte at `tstamp_ok` right by.
                pub tstamp_ok_shift: u16,
            }
        }
        impl Offsets {
            /// Every member: (field here, structure, path in it, dots between nested members).
            pub const MEMBERS: &[(&str, &str, &str)] = &[$((stringify!($field), $structure, $path)),*];

            /// Fills the table by asking `resolve(structure, path)` for each member, `ABSENT` where it says `None`.
            /// The second value of an answer is the bit offset within the byte, 0 but for bit fields.
            pub fn resolve(mut resolve: impl FnMut(&str, &str) -> Option<(u16, u16)>) -> Self {
                let mut bits = |structure: &str, path: &str| resolve(structure, path).unwrap_or((ABSENT, 0));
                let chrono_type_shift = bits("tcp_sock", "chrono_type").1;
                let repair_shift = bits("tcp_sock", "repair").1;
                let tstamp_ok_shift = bits("tcp_sock", "rx_opt.tstamp_ok").1;
                Self {
                    $($field: bits($structure, $path).0,)*
                    chrono_type_shift,
                    repair_shift,
                    tstamp_ok_shift,
                }
            }

            /// A table without any member: what the object carries until it is overridden.
            pub const fn absent() -> Self {
                Self { $($field: ABSENT,)* chrono_type_shift: 0, repair_shift: 0, tstamp_ok_shift: 0 }
            }
        }
    };
}

offsets! {
    /// `sock_common`.
    skc_daddr => "sock_common"."skc_daddr",
    /// `sock_common`.
    skc_rcv_saddr => "sock_common"."skc_rcv_saddr",
    /// `sock_common`.
    skc_dport => "sock_common"."skc_dport",
    /// `sock_common`: host order, 0 once unhashed.
    skc_num => "sock_common"."skc_num",
    /// `sock_common`.
    skc_family => "sock_common"."skc_family",
    /// `sock_common`.
    skc_state => "sock_common"."skc_state",
    /// `sock_common`.
    skc_net => "sock_common"."skc_net",
    /// `sock_common`; absent without IPv6.
    skc_v6_daddr => "sock_common"."skc_v6_daddr",
    /// `sock_common`; absent without IPv6.
    skc_v6_rcv_saddr => "sock_common"."skc_v6_rcv_saddr",
    /// `sock_common`.
    skc_cookie => "sock_common"."skc_cookie",
    /// `sock_common`.
    skc_flags => "sock_common"."skc_flags",
    /// `sock`.
    sk_err => "sock"."sk_err",
    /// `sock`.
    sk_error_queue => "sock"."sk_error_queue",
    /// `sock`.
    sk_socket => "sock"."sk_socket",
    /// `sock`.
    sk_lock_owned => "sock"."sk_lock.owned",
    /// `sock`.
    sk_uid => "sock"."sk_uid",
    /// `sock`.
    sk_protocol => "sock"."sk_protocol",
    /// `sock`.
    sk_shutdown => "sock"."sk_shutdown",
    /// `sock`.
    sk_lingertime => "sock"."sk_lingertime",
    /// `sock`.
    sk_ack_backlog => "sock"."sk_ack_backlog",
    /// `sock`.
    sk_max_ack_backlog => "sock"."sk_max_ack_backlog",
    /// `sock`: absent before it was introduced; then by way of `sk_socket`.
    sk_ino => "sock"."sk_ino",
    /// `sock`.
    sk_cgroup => "sock"."sk_cgrp_data.cgroup",
    /// `sock`: the same, where a union hides its type (before 5.15); its lowest two bits are flags.
    sk_cgroup_word => "sock"."sk_cgrp_data.val",
    /// `inet_sock`.
    inet_sport => "inet_sock"."inet_sport",
    /// `inet_connection_sock`.
    icsk_retransmits => "inet_connection_sock"."icsk_retransmits",
    /// `inet_connection_sock`.
    icsk_probes_out => "inet_connection_sock"."icsk_probes_out",
    /// `inet_connection_sock`.
    icsk_user_timeout => "inet_connection_sock"."icsk_user_timeout",
    /// `inet_connection_sock`.
    icsk_lrcvtime => "inet_connection_sock"."icsk_ack.lrcvtime",
    /// `tcp_sock`.
    bytes_sent => "tcp_sock"."bytes_sent",
    /// `tcp_sock`.
    bytes_received => "tcp_sock"."bytes_received",
    /// `tcp_sock`.
    bytes_acked => "tcp_sock"."bytes_acked",
    /// `tcp_sock`.
    rcv_nxt => "tcp_sock"."rcv_nxt",
    /// `tcp_sock`.
    copied_seq => "tcp_sock"."copied_seq",
    /// `tcp_sock`.
    snd_nxt => "tcp_sock"."snd_nxt",
    /// `tcp_sock`.
    snd_una => "tcp_sock"."snd_una",
    /// `tcp_sock`.
    write_seq => "tcp_sock"."write_seq",
    /// `tcp_sock`.
    rcv_wnd => "tcp_sock"."rcv_wnd",
    /// `tcp_sock`.
    snd_wnd => "tcp_sock"."snd_wnd",
    /// `tcp_sock`.
    srtt_us => "tcp_sock"."srtt_us",
    /// `tcp_sock`: `struct minmax`, its first sample is a pair (time, value).
    rtt_min => "tcp_sock"."rtt_min",
    /// `tcp_sock`: nanoseconds of `CLOCK_MONOTONIC`.
    tcp_wstamp_ns => "tcp_sock"."tcp_wstamp_ns",
    /// `tcp_sock`.
    lsndtime => "tcp_sock"."lsndtime",
    /// `tcp_sock`.
    rcv_tstamp => "tcp_sock"."rcv_tstamp",
    /// `tcp_sock`.
    chrono_start => "tcp_sock"."chrono_start",
    /// `tcp_sock`: the byte it begins in, a bit field on older kernels.
    chrono_type => "tcp_sock"."chrono_type",
    /// `tcp_sock`.
    keepalive_time => "tcp_sock"."keepalive_time",
    /// `tcp_sock`.
    keepalive_intvl => "tcp_sock"."keepalive_intvl",
    /// `tcp_sock`.
    keepalive_probes => "tcp_sock"."keepalive_probes",
    /// `tcp_sock`: milliseconds of `CLOCK_MONOTONIC`, low 32 bits; 0: none.
    retrans_stamp => "tcp_sock"."retrans_stamp",
    /// `tcp_sock`.
    total_retrans => "tcp_sock"."total_retrans",
    /// `tcp_sock`.
    packets_out => "tcp_sock"."packets_out",
    /// `tcp_sock`.
    linger2 => "tcp_sock"."linger2",
    /// `tcp_sock`: the byte it begins in, one bit.
    repair => "tcp_sock"."repair",
    /// `tcp_sock`: the byte it begins in, one bit.
    tstamp_ok => "tcp_sock"."rx_opt.tstamp_ok",
    /// `tcp_sock`; absent without MPTCP.
    is_mptcp => "tcp_sock"."is_mptcp",
    /// `socket`.
    socket_file => "socket"."file",
    /// `socket`.
    socket_sk => "socket"."sk",
    /// `file`.
    f_inode => "file"."f_inode",
    /// `file`.
    private_data => "file"."private_data",
    /// `inode`.
    i_mode => "inode"."i_mode",
    /// `inode`.
    i_ino => "inode"."i_ino",
    /// `sk_buff`.
    skb_head => "sk_buff"."head",
    /// `sk_buff`.
    skb_len => "sk_buff"."len",
    /// `sk_buff`.
    skb_network_header => "sk_buff"."network_header",
    /// `sk_buff`.
    skb_transport_header => "sk_buff"."transport_header",
    /// `sk_buff`.
    skb_dev => "sk_buff"."dev",
    /// `sk_buff`.
    skb_iif => "sk_buff"."skb_iif",
    /// `sk_buff`.
    skb_cb => "sk_buff"."cb",
    /// `sock_exterr_skb`: what is in `skb_cb` of an error queue; begins with the errno.
    skb_error => "sock_exterr_skb"."ee",
    /// `sk_buff`: the route, its lowest bits are flags.
    skb_refdst => "sk_buff"."_skb_refdst",
    /// `rtable`.
    rt_type => "rtable"."rt_type",
    /// `rt6_info`; absent without IPv6.
    rt6i_flags => "rt6_info"."rt6i_flags",
    /// `net_device`.
    dev_net => "net_device"."nd_net",
    /// `net`; set absent where user space cannot ask for it (before 5.14), so that both sides name a namespace alike.
    net_cookie => "net"."net_cookie",
    /// `net`.
    net_inum => "net"."ns.inum",
    /// `cgroup`.
    cgroup_kn => "cgroup"."kn",
    /// `kernfs_node`.
    kn_id => "kernfs_node"."id",
    /// `task_struct`.
    task_group_leader => "task_struct"."group_leader",
    /// `task_struct`: named `real_start_time` before 5.5.
    task_start_boottime => "task_struct"."start_boottime",
    /// `task_struct`.
    task_exit_code => "task_struct"."exit_code",
    /// `task_struct`.
    task_flags => "task_struct"."flags",
    /// `task_struct`.
    task_tgid => "task_struct"."tgid",
    /// `task_struct`.
    task_comm => "task_struct"."comm",
    /// `task_struct`.
    task_cred => "task_struct"."cred",
    /// `task_struct`.
    task_thread_pid => "task_struct"."thread_pid",
    /// `cred`.
    cred_euid => "cred"."euid",
    /// `pid`: how many namespaces lie above the innermost of `pid_numbers`.
    pid_level => "pid"."level",
    /// `pid`: of `struct upid`, 16 bytes each.
    pid_numbers => "pid"."numbers",
    /// `pid_namespace`.
    pid_ns_inum => "pid_namespace"."ns.inum",
}

// The name of the missing reason lives with the events; the loader needs both.
pub use reset::REASON_NONE;
