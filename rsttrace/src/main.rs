//! The `rsttrace` command.
fn main() {}
