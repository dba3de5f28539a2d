//! security_sock_graft(sk, parent): accept() gives a connection to the process that called it.
//!
//! In that process's context, with the same arguments from 5.10 to 7.3 (security/security.c). Without it a connection has
//! the owner of its listener, which is a master process where workers accept.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use rsttrace_common::socket::{
    OWNERSHIP_INHERITED, SOURCE_ACCEPT, TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT,
};
use rsttrace_common::task::PF_KTHREAD;

use crate::kernel::{Typed, current, load, tcp_sock};
use crate::knobs::offset;
use crate::owners;

#[fentry(function = "security_sock_graft")]
fn fentry_security_sock_graft(ctx: FEntryContext) -> u32 {
    let sk = ctx.arg::<Typed>(0);
    if tcp_sock(sk).is_none() {
        return 0;
    }
    // A socket that socket() has just made has not been accepted.
    let state: u8 = load(sk, offset!(skc_state)).unwrap_or(0);
    let is_open = !matches!(state, TCP_CLOSE | TCP_LISTEN | TCP_SYN_SENT);
    if !is_open {
        return 0;
    }
    let acceptor = current();
    if acceptor.flags & PF_KTHREAD != 0 {
        return 0;
    }
    let Some(ownership) = owners::get_or_begin(sk) else {
        return 0;
    };
    ownership.owner = acceptor.task;
    ownership.source = SOURCE_ACCEPT;
    ownership.flags &= !OWNERSHIP_INHERITED;
    0
}
