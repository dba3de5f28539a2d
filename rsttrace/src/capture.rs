//! Packet captures: what a file or pipe holds of TCP, one segment after the other.
//!
//! The readers are the edge: the only place that knows pcap, pcapng, compression and link layers. What they give is a
//! [`Segment`]; who judges it knows nothing of files.

mod segment;

pub use segment::{CaptureTime, Overlay, Segment, TcpOptions, Way};
