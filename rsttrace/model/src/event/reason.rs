//! Reset reasons of the kernel: `enum sk_rst_reason`, include/net/rstreason.h.

use std::fmt;

use super::Word;

macro_rules! reasons {
    ($($variant:ident => $name:literal),* $(,)?) => {
        /// Why the kernel sent a reset, by the enumerator's name: the numbers differ between kernels.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the kernel documents them")]
        pub enum ResetReason {
            $($variant,)*
            /// One that came after this table: its name without the prefix, or `#N` for a number that the running kernel's BTF
            /// does not name.
            Other(Word),
        }

        impl ResetReason {
            /// The reason of this name, which is without the prefix `SK_RST_REASON_`.
            pub fn named(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    other => Self::Other(Word::new(other)),
                }
            }

            /// The enumerator's name without the prefix `SK_RST_REASON_`.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other(name) => name,
                }
            }

            /// The same, to be kept.
            pub fn word(&self) -> Word {
                match self {
                    $(Self::$variant => Word::new_static($name),)*
                    Self::Other(name) => name.clone(),
                }
            }
        }
    };
}

reasons! {
    NotSpecified => "NOT_SPECIFIED",
    NoSocket => "NO_SOCKET",
    InvalidAckSequence => "TCP_INVALID_ACK_SEQUENCE",
    Paws => "TCP_RFC7323_PAWS",
    TooOldAck => "TCP_TOO_OLD_ACK",
    AckUnsentData => "TCP_ACK_UNSENT_DATA",
    Flags => "TCP_FLAGS",
    OldAck => "TCP_OLD_ACK",
    AbortOnData => "TCP_ABORT_ON_DATA",
    TimewaitSocket => "TCP_TIMEWAIT_SOCKET",
    InvalidSyn => "INVALID_SYN",
    AbortOnClose => "TCP_ABORT_ON_CLOSE",
    AbortOnLinger => "TCP_ABORT_ON_LINGER",
    AbortOnMemory => "TCP_ABORT_ON_MEMORY",
    State => "TCP_STATE",
    KeepaliveTimeout => "TCP_KEEPALIVE_TIMEOUT",
    DisconnectWithData => "TCP_DISCONNECT_WITH_DATA",
    MptcpUnspecified => "MPTCP_RST_EUNSPEC",
    MptcpProtocol => "MPTCP_RST_EMPTCP",
    MptcpResource => "MPTCP_RST_ERESOURCE",
    MptcpProhibited => "MPTCP_RST_EPROHIBIT",
    MptcpWaitQueue => "MPTCP_RST_EWQ2BIG",
    MptcpBadPerformance => "MPTCP_RST_EBADPERF",
    MptcpMiddlebox => "MPTCP_RST_EMIDDLEBOX",
}

impl ResetReason {
    /// A reason of an MPTCP subflow, those that came after this table too.
    pub fn is_mptcp(&self) -> bool {
        self.name().starts_with("MPTCP_")
    }
}

impl From<&str> for ResetReason {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
