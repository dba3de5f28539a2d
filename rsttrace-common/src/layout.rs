//! Sizes and offsets that must not move within a [`crate::WIRE_VERSION`], checked by the compiler.

use core::mem::{offset_of, size_of};

use crate::handshake::{Syn, SynKey, Translation};
use crate::lifecycle::{Failed, TimedOut, Tombstone};
use crate::packet::{Baseline, RstPacket, Target};
use crate::reset::{ResetReceived, ResetSent, ResetSentByListener, ResetSentStateless, Segment};
use crate::socket::{Ownership, Socket};
use crate::task::{CurrentTask, Task};
use crate::{Flow, FlowKey, Header};

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Flow>() == 40);
    assert!(size_of::<FlowKey>() == 48);
    assert!(size_of::<Task>() == 40);
    assert!(size_of::<CurrentTask>() == 48);
    assert!(size_of::<Segment>() == 24);
    assert!(size_of::<Socket>() == 176);
    assert!(size_of::<Ownership>() == 128);
    assert!(size_of::<Tombstone>() == 160);
    assert!(size_of::<Baseline>() == 16);
    assert!(size_of::<SynKey>() == 16);
    assert!(size_of::<Syn>() == 64);
    assert!(size_of::<Translation>() == 48);
    assert!(size_of::<Target>() == 32);
    assert!(size_of::<ResetSent>() == 32 + 40 + 176 + 128 + 48 + 24 + 8);
    assert!(size_of::<ResetSentByListener>() == size_of::<ResetSent>() + 160);
    assert!(size_of::<ResetSentStateless>() == 32 + 40 + 24 + 2 * 160 + 16 + 16);
    assert!(size_of::<ResetReceived>() == 32 + 40 + 176 + 128 + 24);
    assert!(size_of::<Failed>() == 32 + 40 + 176 + 128 + 16);
    assert!(size_of::<TimedOut>() == 32 + 40 + 128 + 8);
    assert!(size_of::<RstPacket>() == 32 + 48 + 32 + 16 + 16 + 20 + 4 + 12 + 4 + SNAP);
    assert!(offset_of!(Header, kind) == 24);
    assert!(offset_of!(ResetSent, flow) == 32);
    assert!(offset_of!(RstPacket, snap) == size_of::<RstPacket>() - SNAP);
};

const SNAP: usize = crate::packet::SNAP_LEN;
