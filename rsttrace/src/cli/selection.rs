//! Filter options (`--port`, `--not-port`, …), which become a [`Filter`].

use clap::Args;
use ipnet::IpNet;

use super::expression;
use crate::filter::{Expression, Filter, Ports, ProcessTerm, Terms};
use crate::record::{Cause, Class, Direction, FailureKind, Severity};
use crate::values;

#[derive(Debug, Args)]
#[command(next_help_heading = "Filters (--not-port, --not-process, ... exclude matches)")]
pub(super) struct OnlyArgs {
    /// Filter as in tcpdump, over resets: 'host 10.0.0.1 and port 443', 'not comm nginx'
    #[arg(short, long, value_name = "EXPRESSION", value_parser = expression::parse)]
    filter: Option<Expression>,

    /// Port of either end: 443, 8000-8999
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = values::ports)]
    port: Vec<Ports>,

    /// Address or network of either end: 10.0.3.7, 10.0.0.0/8, 2001:db8::/32
    #[arg(long, value_name = "IP", value_delimiter = ',', value_parser = values::network)]
    address: Vec<IpNet>,

    /// Process that caused the reset or held the socket: PID, name, or name of the executable
    #[arg(long, value_name = "NAME|PID", value_delimiter = ',', value_parser = values::process)]
    process: Vec<ProcessTerm>,

    /// systemd unit of the process: nginx, nginx.service
    #[arg(long, value_name = "UNIT", value_delimiter = ',', value_parser = values::word)]
    unit: Vec<String>,

    /// Container of the process: ID or its first digits (at least six), name, web-*
    #[arg(long, value_name = "ID|NAME", value_delimiter = ',', value_parser = values::word)]
    container: Vec<String>,

    /// Kubernetes pod of the process: name, web-*, shop/web-*, shop/* (a namespace), UID or its first digits (at least six)
    #[arg(long, value_name = "NAME|UID", value_delimiter = ',', value_parser = values::word)]
    pod: Vec<String>,

    /// Network namespace: inode number, name under /run/netns, or path
    #[arg(long, value_name = "NETNS", value_delimiter = ',', value_parser = values::netns)]
    netns: Vec<u32>,

    /// Cause of the reset
    #[arg(long, value_parser = values::named::<Cause>(), value_name = "CAUSE", value_delimiter = ',')]
    cause: Vec<Cause>,

    /// Common, usually harmless way in which a connection ends
    #[arg(long, value_parser = values::named::<Class>(), value_name = "CLASS", value_delimiter = ',')]
    class: Vec<Class>,

    /// Impact of the reset
    #[arg(long, value_parser = values::named::<Severity>(), value_name = "SEVERITY", value_delimiter = ',')]
    severity: Vec<Severity>,

    /// Direction of the reset as seen from this host
    #[arg(long, value_parser = values::named::<Direction>(), value_name = "DIRECTION", value_delimiter = ',')]
    direction: Vec<Direction>,

    /// Failures without a reset, by kind; leaves out resets
    #[arg(long, value_parser = values::named::<FailureKind>(), value_name = "KIND", value_delimiter = ',')]
    failure: Vec<FailureKind>,
}

/// The `--not-…` forms. They are hidden from the option list; the heading of the filters mentions them.
#[derive(Debug, Args)]
pub(super) struct ExceptArgs {
    #[arg(long, hide = true, value_name = "PORT", value_delimiter = ',', value_parser = values::ports)]
    not_port: Vec<Ports>,
    #[arg(long, hide = true, value_name = "IP", value_delimiter = ',', value_parser = values::network)]
    not_address: Vec<IpNet>,
    #[arg(long, hide = true, value_name = "NAME|PID", value_delimiter = ',', value_parser = values::process)]
    not_process: Vec<ProcessTerm>,
    #[arg(long, hide = true, value_name = "UNIT", value_delimiter = ',', value_parser = values::word)]
    not_unit: Vec<String>,
    #[arg(long, hide = true, value_name = "ID", value_delimiter = ',', value_parser = values::word)]
    not_container: Vec<String>,
    #[arg(long, hide = true, value_name = "UID", value_delimiter = ',', value_parser = values::word)]
    not_pod: Vec<String>,
    #[arg(long, hide = true, value_name = "NETNS", value_delimiter = ',', value_parser = values::netns)]
    not_netns: Vec<u32>,
    #[arg(
        long,
        hide = true,
        value_parser = values::named::<Cause>(),
        value_name = "CAUSE",
        value_delimiter = ','
    )]
    not_cause: Vec<Cause>,
    #[arg(
        long,
        hide = true,
        value_parser = values::named::<Class>(),
        value_name = "CLASS",
        value_delimiter = ','
    )]
    not_class: Vec<Class>,
    #[arg(
        long,
        hide = true,
        value_parser = values::named::<Severity>(),
        value_name = "SEVERITY",
        value_delimiter = ','
    )]
    not_severity: Vec<Severity>,
    #[arg(
        long,
        hide = true,
        value_parser = values::named::<Direction>(),
        value_name = "DIRECTION",
        value_delimiter = ','
    )]
    not_direction: Vec<Direction>,
    #[arg(
        long,
        hide = true,
        value_parser = values::named::<FailureKind>(),
        value_name = "KIND",
        value_delimiter = ','
    )]
    not_failure: Vec<FailureKind>,
}

/// Builds the filter from both groups of options.
pub(super) fn filter(only: OnlyArgs, except: ExceptArgs) -> Filter {
    Filter {
        expression: only.filter,
        only: Terms {
            ports: only.port,
            addresses: only.address,
            processes: only.process,
            units: only.unit,
            containers: only.container,
            pods: only.pod,
            netns: only.netns,
            causes: only.cause,
            classes: only.class,
            severities: only.severity,
            directions: only.direction,
            failures: only.failure,
        },
        except: Terms {
            ports: except.not_port,
            addresses: except.not_address,
            processes: except.not_process,
            units: except.not_unit,
            containers: except.not_container,
            pods: except.not_pod,
            netns: except.not_netns,
            causes: except.not_cause,
            classes: except.not_class,
            severities: except.not_severity,
            directions: except.not_direction,
            failures: except.not_failure,
        },
    }
}
