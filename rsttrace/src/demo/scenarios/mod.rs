//! Which resets does the demo stage?
//!
//! A scenario is described once: data, and two steps of code. Its twins look alike and have another truth.

mod closing;
mod firewall;
mod handshake;
mod injected;
mod late_data;
mod pair;
mod seen_elsewhere;
mod timeouts;
mod vanished;

use super::StageError;
use super::actor::Actor;
use super::lab::{IpVersion, Lab};
use super::truth::Truth;
use crate::record::Form;

/// For which IP versions a scenario is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Each in turn.
    Both,
}

impl Family {
    /// The versions in turn.
    pub fn versions(self) -> &'static [IpVersion] {
        match self {
            Self::V4 => &[IpVersion::V4],
            Self::V6 => &[IpVersion::V6],
            Self::Both => &[IpVersion::V4, IpVersion::V6],
        }
    }
}

/// One kind of reset and how it is staged.
#[derive(Debug)]
pub struct Scenario {
    /// Its name, for choosing it.
    pub name: &'static str,
    /// What happens, for people.
    pub title: &'static str,
    /// For which IP versions.
    pub family: Family,
    /// Whether a socket exists before the provocation: then it can be older than the tracer.
    pub can_predate: bool,
    /// Names of scenarios that look alike and have another truth.
    pub twins: &'static [&'static str],
    open: fn(&mut Lab, IpVersion) -> Result<Armed, StageError>,
}

impl Scenario {
    /// Sets all up that can be before the reset.
    pub fn open(&self, lab: &mut Lab, version: IpVersion) -> Result<Armed, StageError> {
        lab.offers(version)?;
        (self.open)(lab, version)
    }
}

type Provocation = Box<dyn FnOnce(&mut Lab) -> Result<Staged, StageError> + Send>;

/// A scenario whose sockets are open and whose reset is still to come.
pub struct Armed(Provocation);

impl Armed {
    fn new(
        provoke: impl FnOnce(&mut Lab) -> Result<Staged, StageError> + Send + 'static,
    ) -> Result<Self, StageError> {
        Ok(Self(Box::new(provoke)))
    }

    /// Has the reset happen, confirms that it did, and puts the lab in order again.
    pub fn provoke(self, lab: &mut Lab) -> Result<Staged, StageError> {
        let staged = (self.0)(lab);
        lab.tidy()?;
        let staged = staged?;
        for truth in &staged.truths {
            check_form(truth, staged.form)?;
        }
        Ok(staged)
    }
}

/// What was staged. The processes live on until this is dropped, for whoever looks them up.
#[derive(Debug)]
pub struct Staged {
    /// The truths: the first is what the scenario is about, others are the same event seen elsewhere or
    /// further resets of the same cause.
    pub truths: Vec<Truth>,
    /// The form that every RST of it has on the wire; `None` for a crafted one, whose form says nothing.
    pub form: Option<Form>,
    _actors: Vec<Actor>,
}

impl Staged {
    fn new(form: Option<Form>, truths: Vec<Truth>, actors: Vec<Actor>) -> Result<Self, StageError> {
        Ok(Self {
            truths,
            form,
            _actors: actors,
        })
    }
}

/// A RST of another form than meant was sent by something else than meant.
fn check_form(truth: &Truth, form: Option<Form>) -> Result<(), StageError> {
    let seen = &truth.seen;
    let right = match form {
        Some(Form::Active) => seen.window != 0,
        Some(Form::Passive) => {
            seen.window == 0 && seen.options == 0 && seen.ip_id.unwrap_or(0) == 0
        }
        None => true,
    };
    if right {
        Ok(())
    } else {
        Err(StageError::Failed(format!(
            "the RST is not {form:?}: {seen:?}"
        )))
    }
}

/// Fails the staging unless what was found is what was meant.
fn confirm<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    meant: T,
) -> Result<(), StageError> {
    if found == meant {
        return Ok(());
    }
    Err(StageError::Failed(format!(
        "{what}: {found:?} instead of {meant:?}"
    )))
}

/// All scenarios, the plain ones first.
pub const ALL: &[&Scenario] = &[
    &handshake::PORT_CLOSED,
    &handshake::PORT_CLOSED_LATELY,
    &closing::LINGER_ZERO,
    &closing::LINGER_ZERO_MAPPED,
    &closing::CLOSE_UNREAD,
    &closing::LINGER_FIVE_UNREAD,
    &closing::KILLED_UNREAD,
    &closing::EXIT_UNREAD,
    &closing::WORKER_CLOSES,
    &closing::LINGER2,
    &closing::DISCONNECT,
    &closing::SOCKET_DESTROYED,
    &closing::LISTENER_CLOSED,
    &seen_elsewhere::RECEIVED,
    &seen_elsewhere::FORWARDED,
    &late_data::FIN_WAIT2,
    &late_data::TIME_WAIT,
    &late_data::KILLED,
    &late_data::SHUTDOWN_BOTH,
    &vanished::HALF_OPEN,
    &vanished::HALF_OPEN_LISTENER_BACK,
    &vanished::BAD_ACK_WHILE_CONNECTING,
    &timeouts::KEEPALIVE,
    &timeouts::USER_TIMEOUT,
    &handshake::LATE_SYNACK,
    &handshake::ACCEPT_OVERFLOW,
    &handshake::STRAY_ACK,
    &firewall::REJECT_SYN,
    &firewall::REJECT_ESTABLISHED,
    &firewall::REJECT_FORWARDED,
    &injected::RAW_SOCKET,
    &injected::EXACT,
    &injected::IN_WINDOW,
    &injected::OUT_OF_WINDOW,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_and_what_is_armed_in_it_can_move_to_another_thread() {
        fn can_move<T: Send>() {}
        can_move::<(Lab, Armed, Staged)>();
    }

    #[test]
    fn names_are_unique_and_every_twin_exists() {
        for (index, scenario) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != scenario.name));
            for twin in scenario.twins {
                assert!(ALL.iter().any(|other| other.name == *twin), "{twin}");
                assert_ne!(*twin, scenario.name);
            }
            assert!(!scenario.twins.is_empty(), "{} has no twin", scenario.name);
        }
    }
}
