//! rsttrace
