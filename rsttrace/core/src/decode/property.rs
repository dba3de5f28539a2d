//! Decoding of arbitrary bytes never panics, and loses nothing of an event.

use proptest::prelude::*;
use rsttrace_common::{WIRE_VERSION, header, lifecycle, packet, reset, socket as wire_socket};
use zerocopy::{FromBytes, FromZeros};

use super::encode::encode;
use super::segment::dissect;
use super::tests::{SNAPS, decoder, hex};
use crate::event::Event;

/// Bytes that are an event of any kind but for the values of their fields.
fn valid_header() -> impl Strategy<Value = Vec<u8>> {
    (1u16..=5, prop::collection::vec(any::<u8>(), 700)).prop_map(|(kind, mut bytes)| {
        bytes[24..26].copy_from_slice(&kind.to_ne_bytes());
        bytes[26..28].copy_from_slice(&WIRE_VERSION.to_ne_bytes());
        bytes
    })
}

/// The same with every enumerated field in its range, and packets that look like packets.
fn valid_event() -> impl Strategy<Value = Vec<u8>> {
    (
        valid_header(),
        any::<[bool; 6]>(),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut bytes, coins, index)| {
            let fix_state = |state: &mut u8| *state = *state % 12 + 1;
            let fix_ownership = |it: &mut wire_socket::Ownership| {
                it.source %= 4;
                it.state_before_close %= 13;
                if coins[0] {
                    *it = FromZeros::new_zeroed();
                }
                // What is no UTF-8 grows and is then no longer a name of 16 bytes.
                it.owner.comm = it.owner.comm.map(|byte| byte & 0x7f);
                it.closer_comm = it.closer_comm.map(|byte| byte & 0x7f);
            };
            let kind = u16::from_ne_bytes([bytes[24], bytes[25]]);
            match kind {
                header::KIND_RESET_SENT => {
                    let (wire, _) = reset::ResetSent::mut_from_prefix(&mut bytes).unwrap();
                    fix_state(&mut wire.socket.state);
                    fix_ownership(&mut wire.ownership);
                    wire.current.task.comm = *b"a b\0c d e f g h ";
                    wire.reason = if coins[1] { u32::MAX } else { wire.reason % 4 };
                    wire.cause.present = coins[2].into();
                    if coins[3] {
                        wire.flow.local_address[..12]
                            .copy_from_slice(&rsttrace_common::flow::V4_MAPPED_PREFIX);
                    }
                    if coins[4] {
                        wire.socket.chrono_type = 1;
                    }
                }
                header::KIND_RESET_SENT_STATELESS => {
                    let (wire, _) = reset::ResetSentStateless::mut_from_prefix(&mut bytes).unwrap();
                    wire.state %= 13;
                    for tombstone in [&mut wire.connection, &mut wire.listener] {
                        fix_state(&mut tombstone.end.last_state);
                        fix_ownership(&mut tombstone.ownership);
                    }
                    if coins[1] {
                        wire.listener.end.died_ns = 0;
                    }
                }
                header::KIND_RESET_RECEIVED => {
                    let (wire, _) = reset::ResetReceived::mut_from_prefix(&mut bytes).unwrap();
                    fix_state(&mut wire.socket.state);
                    fix_ownership(&mut wire.ownership);
                    wire.segment.present = coins[2].into();
                    if coins[3] {
                        wire.flow.local_address[..12]
                            .copy_from_slice(&rsttrace_common::flow::V4_MAPPED_PREFIX);
                    }
                }
                header::KIND_RST_PACKET => {
                    let (wire, _) = packet::RstPacket::mut_from_prefix(&mut bytes).unwrap();
                    wire.target.state %= 13;
                    wire.sender.task.comm = *b"x\0c d e f g h ij";
                    let snap = hex(index.get(SNAPS).1);
                    let tail = 13 + index.index(7);
                    // Everything that does not steer the dissection is random.
                    if coins[1] {
                        wire.snap[..snap.len() - 8].copy_from_slice(&snap[..snap.len() - 8]);
                    } else {
                        wire.snap[..snap.len()].copy_from_slice(&snap);
                        wire.snap[tail] = wire.snap[tail].wrapping_add(1);
                    }
                    wire.tcp_offset = 20;
                    wire.snap_len = if coins[2] {
                        128
                    } else {
                        u16::try_from(snap.len()).unwrap()
                    };
                }
                header::KIND_FAILED => {
                    let (wire, _) = lifecycle::Failed::mut_from_prefix(&mut bytes).unwrap();
                    fix_state(&mut wire.last_state);
                    fix_state(&mut wire.socket.state);
                    fix_ownership(&mut wire.ownership);
                }
                _ => {
                    let (wire, _) = lifecycle::TimedOut::mut_from_prefix(&mut bytes).unwrap();
                    fix_state(&mut wire.last_state);
                    fix_ownership(&mut wire.ownership);
                }
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        let _ = decoder().decode(&bytes);
    }

    #[test]
    fn any_body_behind_a_valid_header_is_an_event_or_an_error(bytes in valid_header()) {
        let _ = decoder().decode(&bytes);
    }

    #[test]
    fn any_snapshot_is_a_segment_or_an_error(
        mut snap in prop::collection::vec(any::<u8>(), 1..=128),
        v6: bool,
        offset in 0usize..200,
    ) {
        snap[0] = if v6 { 0x60 } else { 0x45 };
        let _ = dissect(&snap, offset);
    }

    #[test]
    fn what_was_decoded_is_encoded_and_decoded_to_the_same(bytes in valid_event()) {
        let event: Result<Event, _> = decoder().decode(&bytes);
        let packet = bytes[24..26] == header::KIND_RST_PACKET.to_ne_bytes();
        prop_assert!(packet || event.is_ok(), "{event:?}");
        if let Ok(event) = event {
            prop_assert_eq!(decoder().decode(&encode(&event)), Ok(event));
        }
    }
}
