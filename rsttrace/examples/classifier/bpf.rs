//! bpf(2) for what aya has no function for: a program from bare instructions, and a test run that is timed from outside,
//! since the kernel tells whole nanoseconds a run.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

// include/uapi/linux/bpf.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
/// `mov r0, -1` (which is `TC_ACT_UNSPEC`), `exit`.
const INSTRUCTIONS: [u64; 2] = [0xffff_ffff_0000_00b7, 0x95];
const LICENCE: &[u8; 4] = b"GPL\0";

/// The part of `union bpf_attr` that a load reads; what is not there counts as zero.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The part of `union bpf_attr` that a test run reads and writes.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

/// A classifier that lets everything pass.
pub fn load_empty() -> io::Result<OwnedFd> {
    let attr = Load {
        prog_type: BPF_PROG_TYPE_SCHED_CLS,
        insn_cnt: INSTRUCTIONS.len() as u32,
        insns: INSTRUCTIONS.as_ptr() as u64,
        license: LICENCE.as_ptr() as u64,
    };
    // SAFETY: bpf(2) reads `size` bytes of the attribute, a live `repr(C)` value without padding that points to live statics.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const attr,
            size_of::<Load>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// How long so many runs on one frame take, the call included. An error if the packet would not go on its way.
pub fn test_run(program: BorrowedFd<'_>, frame: &[u8], runs: u32) -> io::Result<Duration> {
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: runs,
        ..TestRun::default()
    };
    let begin = Instant::now();
    // SAFETY: bpf(2) reads and writes `size` bytes of the attribute, a live `repr(C)` value without padding; it points to a
    // frame of the stated length that lives across the call, and to nothing that is written.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attr,
            size_of::<TestRun>(),
        )
    };
    let took = begin.elapsed();
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // TC_ACT_UNSPEC: whatever comes next decides.
    if attr.retval != u32::MAX {
        let text = format!("the classifier returned {}", attr.retval);
        return Err(io::Error::other(text));
    }
    Ok(took)
}
