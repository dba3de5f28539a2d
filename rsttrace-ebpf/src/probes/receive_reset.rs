//! tcp:tcp_receive_reset: the kernel accepted a reset for a socket.
//!
//! (sk) on every kernel, at the top of tcp_reset(): the socket is still in its old state, and there is no packet.
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c#L4428>. It also fires without any reset, when data
//! comes in after the application closed; user space tells that apart.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use rsttrace_common::counters::{RECEIVED_LOST, RECEIVED_SEEN};
use rsttrace_common::header::KIND_RESET_RECEIVED;
use rsttrace_common::reset::ResetReceived;

use crate::emit::{Slot, Tally, emit, header};
use crate::kernel::{Netns, Typed, tcp_sock};
use crate::knobs::offset;
use crate::maps::SOCKETS;
use crate::snapshot::{self, NO_OWNERSHIP};

const TALLY: Tally = Tally {
    seen: RECEIVED_SEEN,
    lost: RECEIVED_LOST,
};

#[btf_tracepoint(function = "tcp_receive_reset")]
fn tcp_receive_reset(ctx: BtfTracePointContext) -> i32 {
    let sk = ctx.arg::<Typed>(0);
    let Some(tcp) = tcp_sock(sk) else { return 0 };
    let ownership = SOCKETS.get(sk);
    let netns = Netns::of(sk, offset!(skc_net));
    emit::<ResetReceived>(ctx.as_ptr(), Slot::Received, TALLY, |event| {
        event.header = header(KIND_RESET_RECEIVED, netns);
        event.flow = snapshot::flow(sk, tcp);
        snapshot::socket(sk, tcp, &mut event.socket);
        event.ownership = match ownership {
            Some(ownership) => *ownership,
            None => NO_OWNERSHIP,
        };
    });
    0
}
