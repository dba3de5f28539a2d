//! Situations that have a page of their own (`docs/situations`), by a stable id.

use crate::record::Sentence;

macro_rules! situations {
    ($(#[doc = $doc:literal] $name:ident => $id:literal,)*) => {
        /// A common situation. Its id never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Situation {
            $(#[doc = $doc] $name,)*
        }

        impl Situation {
            /// Every situation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its id: the argument of `rsttrace explain` and the name of its page.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// What it is, in a few words.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $doc.trim_start(),)*
                }
            }
        }
    };
}

situations! {
    /// A request met a server that was closing the idle connection
    KeepAliveRace => "keep-alive-race",
    /// A timer ended a connection that was idle
    IdleTimeout => "idle-timeout",
    /// AWS NLB and NAT gateway forget connections after 350 s
    Nlb350 => "nlb-350s",
    /// The entry of a NAT or balancer is gone, and the segment reached a host without the connection
    ConntrackMoved => "conntrack-moved",
    /// Answers bypass the NAT that translates the connection
    NatBypassed => "nat-bypassed",
    /// Health checks reset their connections
    HealthChecks => "health-checks",
    /// A process closed with unread data
    UnreadData => "unread-data",
    /// A server closed new connections without reading
    TurnedAway => "turned-away",
    /// The accept queue was full
    AcceptQueue => "accept-queue",
    /// No SYN was answered
    ConnectTimeout => "connect-timeout",
    /// An ICMP message or a missing neighbor ended the connect
    Unreachable => "unreachable",
    /// No local port was free for the destination
    NoLocalPort => "no-local-port",
    /// The peer of an established connection stopped answering
    PeerSilent => "peer-silent",
    /// Someone scans ports
    PortScan => "port-scan",
    /// Nothing listens on the port
    Refused => "refused",
    /// A process was stopped or killed with open connections
    Restart => "restart",
    /// A device on the path sent the reset with the peer's address
    NotFromPeer => "not-from-peer",
    /// Large segments do not arrive
    MtuBlackHole => "mtu-black-hole",
    /// The peer reset the connection, and this host cannot know why
    ResetByPeer => "reset-by-peer",
}

impl Situation {
    /// The situation of this id.
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.id() == id)
    }

    /// Names its page after the first advice.
    pub fn refer(self, advice: &mut [Sentence]) {
        if let Some(first) = advice.first_mut() {
            *first = format!("{first} (rsttrace explain {})", self.id()).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_short_and_found() {
        for &situation in Situation::ALL {
            assert_eq!(Situation::named(situation.id()), Some(situation));
            assert!(situation.id().len() <= 16, "{}", situation.id());
        }
        assert_eq!(Situation::named("Keep-Alive-Race"), None);
    }
}
