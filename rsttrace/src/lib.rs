//! rsttrace

pub mod demo;
mod sys;
