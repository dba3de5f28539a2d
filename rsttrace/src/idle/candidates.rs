//! stub
#![allow(missing_docs)]
use crate::event::Environment;
use crate::record::{Candidate, IdleMode};
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Transparent,
    Terminating,
    Endpoint,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    pub wire: Duration,
    pub application: Duration,
}
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    pub name: String,
    pub network: IpNet,
    pub port: Option<u16>,
    pub timeout: Duration,
    pub mode: IdleMode,
    pub kind: Kind,
}
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Knowledge {
    pub hops: Vec<Hop>,
    pub environment: Option<Environment>,
}
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    pub candidate: Candidate,
    pub kind: Kind,
    pub keepalive_helps: Option<bool>,
    pub precise: bool,
}
pub fn find(
    mode: IdleMode,
    silence: Silence,
    remote: IpAddr,
    port: u16,
    k: &Knowledge,
) -> Vec<Match> {
    k.hops
        .iter()
        .filter(|h| {
            h.mode == mode && h.network.contains(&remote) && h.port.is_none_or(|p| p == port)
        })
        .filter(|h| {
            let s = if h.kind == Kind::Transparent {
                silence.wire
            } else {
                silence.application
            };
            if mode == IdleMode::LateRst {
                s >= h.timeout
            } else {
                s.abs_diff(h.timeout) <= (h.timeout / 100).max(Duration::from_millis(250))
            }
        })
        .map(|h| Match {
            candidate: Candidate {
                device: h.name.clone(),
                timeout: h.timeout.as_secs_f64(),
                mode: Some(h.mode),
                basis: crate::record::Basis::Configured,
            },
            kind: h.kind,
            keepalive_helps: None,
            precise: mode != IdleMode::LateRst,
        })
        .collect()
}
