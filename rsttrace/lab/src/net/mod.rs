//! Network configuration without external tools.

pub mod conntrack;
pub mod destroy;
pub mod link;
pub mod netlink;
pub mod nft;
