//! Where owners are kept in a hash (no socket storage for tracing programs, before 5.11): when a socket begins as a copy of
//! a listener, and when it ends.

use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};

use crate::kernel::Typed;
use crate::owners;

/// inet_csk_clone_lock(sk, req, priority) returned a child of the listener `sk`:
/// <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/inet_connection_sock.c#L829>. It is in softirq.
#[fexit(function = "inet_csk_clone_lock")]
fn fexit_inet_csk_clone_lock(ctx: FExitContext) -> u32 {
    let listener = ctx.arg::<Typed>(0) as u64;
    let child = ctx.arg::<Typed>(3) as u64;
    if child != 0 {
        owners::cloned(listener, child);
    }
    0
}

/// tcp:tcp_destroy_sock (sk): include/trace/events/tcp.h.
#[btf_tracepoint(function = "tcp_destroy_sock")]
fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    owners::destroyed(ctx.arg::<Typed>(0) as u64);
    0
}
