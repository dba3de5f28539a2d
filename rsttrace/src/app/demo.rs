//! x
use crate::cli::{DemoOptions, Failure};
/// x
pub fn demo(_options: DemoOptions) -> Result<(), Failure> {
    Ok(())
}
