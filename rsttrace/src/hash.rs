//! Hash function of tables that every event uses.
//!
//! One that is fast and still keyed: addresses and ports come from the network, and nobody there can know which of them
//! would meet in one place, since the keys are drawn at each start.

/// See the module.
pub use ahash::RandomState;

/// A table with it.
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
