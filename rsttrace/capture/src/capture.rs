//! Packet captures: what a file or pipe holds of TCP, one segment after the other.
//!
//! The readers are the edge: the only place that knows pcap, pcapng, compression and link layers. What they give is a
//! [`Segment`]; who judges it knows nothing of files. [`Reader`] is the way in.

mod dissect;
mod error;
mod info;
mod input;
mod layer;
mod link;
mod looks;
mod overlay;
mod pcap;
mod pcapng;
mod reader;
mod segment;
mod tcp;
mod time;
mod tunnel;
mod wifi;

pub use error::CaptureError;
pub use info::{CaptureInfo, Compression, Format, Interface, ReadCounts};
pub use link::LinkType;
pub use looks::Looks;
pub use reader::Reader;
pub use segment::{CaptureTime, Overlay, Segment, TcpOptions, Way};
pub use time::TimeResolution;

#[cfg(test)]
mod tests;
