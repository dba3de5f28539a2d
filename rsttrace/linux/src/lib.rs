//! The edge to the Linux kernel: eBPF programs and their events, /proc, sock_diag and control groups.

pub mod host;
pub mod kernel;

#[cfg(test)]
use rsttrace_core::decode;
use rsttrace_core::{flood, silence};
use rsttrace_model::{event, hash, record, self_stats, sockets};
use rsttrace_sys as sys;
