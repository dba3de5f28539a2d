//! How does the demo change the network without any tool installed?

pub mod destroy;
pub mod link;
pub mod netlink;
pub mod nft;
