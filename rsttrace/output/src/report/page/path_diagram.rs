//! Diagrams of the paths of resets.

use maud::{Markup, html};

use super::{class, severity_name, shown};
use crate::record::Confidence;
use crate::report::chains::{Chain, Leg, Station};
use crate::words::things;

pub(super) fn section(chains: &[Chain]) -> Markup {
    html! {
        @if !chains.is_empty() {
            section #ways {
                h2 { "Paths of the resets" }
                @for chain in chains { (drawing(chain)) }
            }
        }
    }
}

fn drawing(chain: &Chain) -> Markup {
    html! {
        figure class={ "way " (class(chain.severity)) } {
            ol {
                @for (index, station) in chain.stations.iter().enumerate() {
                    @if let Some(leg) = index.checked_sub(1).and_then(|before| chain.legs.get(before)) {
                        (arrow(leg))
                    }
                    (place(station))
                }
            }
            figcaption {
                span .badge { (severity_name(chain.severity)) }
                " " (chain.cause) ", " (things(chain.count, "time")) ": "
                (shown(&chain.summary, 300))
            }
        }
    }
}

fn place(station: &Station) -> Markup {
    html! {
        li class=(if station.made.is_some() { "station made" } else { "station" }) {
            span .part { (station.part) }
            @if let Some(process) = &station.process {
                b {
                    (shown(process, 40))
                    @if let Some(pid) = station.pid { "[" (pid) "]" }
                }
            }
            @for address in &station.addresses { code { (address) } }
            @match station.made {
                Some(Confidence::Certain) => { span .maker { "reset sent here" } }
                Some(Confidence::Likely) => { span .maker { "likely sent here" } }
                Some(Confidence::Possible) => { span .maker { "possibly sent here" } }
                None => {}
            }
        }
    }
}

fn arrow(leg: &Leg) -> Markup {
    html! {
        li class=(if leg.reset { "leg" } else { "leg old" }) {
            span { (leg.label) }
            span .line aria-hidden="true" {}
        }
    }
}
