//! Resets that several captures show.

use std::time::Duration;

use crate::record::Confidence::{self, Certain, Likely, Possible};
use crate::record::EvidenceKind::{self, Left, Missing, NotPassed, NotSeen, Passed, Ttl, WentOn};
use crate::record::Kind;
use crate::verdict::LocatedCase;
use crate::verdict::located::Sender::{self, Alleged, Between, CaptureHost, Unknown};
use crate::verdict::located::{Gap, NotSeen as Absent, Passed as Later, delay};
use crate::verdict::peer_signs::TtlGrade::{self, Open, Usual};

/// One router behind its alleged sender, like the other packets.
fn usual() -> LocatedCase {
    LocatedCase {
        capture: "here".into(),
        ttl: 63,
        usual_ttl: Some(63),
        grade: Usual,
        leaves: false,
        arrives: false,
        others_arrive: false,
        ttl_elsewhere: false,
        is_last: false,
        is_closest: false,
        not_arrived: false,
        not_seen: None,
        may_be_missed: None,
        passed: None,
        order_known: true,
        is_alone: false,
    }
}

/// With its TTL against what others have.
fn ttl(seen: u8, expected: u8) -> LocatedCase {
    LocatedCase {
        ttl: seen,
        usual_ttl: Some(expected),
        grade: TtlGrade::of(seen, expected),
        ..usual()
    }
}

fn with(mut case: LocatedCase, change: impl FnOnce(&mut LocatedCase)) -> LocatedCase {
    change(&mut case);
    case
}

fn leaving(case: LocatedCase) -> LocatedCase {
    with(case, |case| case.leaves = true)
}

/// Nothing else of its alleged sender was captured.
fn incomparable() -> LocatedCase {
    with(ttl(63, 63), |case| {
        (case.usual_ttl, case.grade) = (None, Open);
    })
}

/// It is all that the capture closest to its alleged sender contains of that one, and the next one has it with another TTL.
fn closest(ttl: u8, next: u8) -> LocatedCase {
    with(incomparable(), |case| {
        (case.is_closest, case.ttl) = (true, ttl);
        case.passed = Some(Later {
            capture: "there".into(),
            later: None,
            ttl: next,
        });
    })
}

/// The capture of a router has it leaving only.
fn not_arrived(case: LocatedCase) -> LocatedCase {
    with(leaving(case), |case| {
        case.not_arrived = true;
        case.others_arrive = true;
    })
}

fn not_seen(case: LocatedCase, continues: bool) -> LocatedCase {
    let capture = "before".into();
    with(case, |case| {
        case.not_seen = Some(Absent { capture, continues })
    })
}

#[test]
#[rustfmt::skip]
fn places_and_ttls_say_who_sent_it() {
    let unordered = |case| with(case, |case| case.order_known = false);
    let alone = |case| with(case, |case| case.is_alone = true);
    let bridged = |case| with(case, |case| case.ttl_elsewhere = true);
    let missed = |case| with(case, |case| case.may_be_missed = Some("it starts later".to_owned()));
    let rows: &[(&str, LocatedCase, Sender, Confidence)] = &[
        ("no order",                               unordered(usual()),                                Unknown(Gap::Order),            Possible),
        ("no order, not seen before",              unordered(not_seen(ttl(64, 63), true)),            Unknown(Gap::Order),            Possible),
        ("no order, one capture shows both sides", unordered(not_arrived(ttl(64, 63))),               CaptureHost,                    Certain),

        ("sender continues",                       not_seen(usual(), true),                           Between,                        Certain),
        ("continues, foreign TTL",                 not_seen(ttl(64, 60), true),                       Between,                        Certain),
        ("continues, leaves with initial TTL",     not_seen(leaving(ttl(64, 63)), true),              CaptureHost,                    Certain),
        ("continues, leaves with lowered TTL",     not_seen(leaving(ttl(50, 63)), true),              Between,                        Certain),
        ("continues, not arrived",                 not_seen(not_arrived(usual()), true),              CaptureHost,                    Certain),

        ("not arrived, lowered",                   not_arrived(usual()),                              Unknown(Gap::Lowered),          Possible),
        ("not arrived, lowered, not seen before",  not_seen(not_arrived(usual()), false),             Unknown(Gap::Lowered),          Possible),
        ("not arrived, like forwarded",            bridged(not_arrived(ttl(64, 64))),                 Unknown(Gap::LikeForwarded),    Possible),
        ("the same, not seen before",              not_seen(bridged(not_arrived(ttl(64, 64))), false), CaptureHost,                   Likely),
        ("the same, others are lowered",           not_arrived(ttl(64, 64)),                          CaptureHost,                    Likely),
        ("not arrived, initial TTL",               not_arrived(ttl(64, 63)),                          CaptureHost,                    Certain),
        ("not arrived, another initial TTL",       not_arrived(ttl(128, 64)),                         CaptureHost,                    Likely),

        ("alone",                                  alone(usual()),                                    Unknown(Gap::OnlyCapture),      Possible),
        ("alone, leaves with initial TTL",         alone(leaving(ttl(64, 63))),                       Unknown(Gap::OnlyCapture),      Possible),
        ("alone, not arrived",                     alone(not_arrived(ttl(64, 63))),                   CaptureHost,                    Certain),

        ("leaves with initial TTL",                leaving(ttl(64, 63)),                              CaptureHost,                    Likely),
        ("the same, not seen before",              not_seen(leaving(ttl(64, 63)), false),             CaptureHost,                    Likely),
        ("the same, not seen leaving",             ttl(64, 63),                                       Between,                        Likely),
        ("leaves with foreign, lowered TTL",       leaving(ttl(50, 63)),                              Between,                        Likely),

        ("unlike its stack",                       ttl(60, 64),                                       Unknown(Gap::UnlikeStack),      Possible),
        ("unlike its stack, odd TTL",              ttl(120, 64),                                      Unknown(Gap::UnlikeStack),      Possible),
        ("unlike its stack, explained TTL",        ttl(63, 64),                                       Unknown(Gap::UnlikeStack),      Possible),
        ("the same, arriving at its receiver",     with(ttl(60, 64), |case| case.arrives = true),     Between,                        Likely),
        ("the same, not seen before",              not_seen(ttl(60, 64), false),                      Between,                        Likely),

        ("foreign TTL",                            ttl(50, 60),                                       Between,                        Likely),
        ("not seen before",                        not_seen(usual(), false),                          Between,                        Possible),
        ("not seen before, foreign TTL",           not_seen(ttl(50, 60), false),                      Between,                        Likely),
        ("not seen before, odd TTL",               not_seen(ttl(240, 57), false),                     Between,                        Possible),
        ("not seen before, nothing to compare",    not_seen(incomparable(), false),                   Between,                        Possible),
        ("nothing to compare",                     incomparable(),                                    Unknown(Gap::NothingToCompare), Possible),
        ("refused at the closest capture",         closest(64, 63),                                   Alleged,                        Possible),
        ("refused there, lowered",                 closest(63, 62),                                   Unknown(Gap::NothingToCompare), Possible),
        ("refused there, higher elsewhere",        closest(64, 250),                                  Unknown(Gap::NothingToCompare), Possible),
        ("explained TTL",                          ttl(61, 60),                                       Unknown(Gap::TtlExplained),     Possible),
        ("explained TTL, may be missed",           missed(ttl(61, 60)),                               Unknown(Gap::TtlExplained),     Possible),
        ("odd TTL",                                ttl(240, 57),                                      Between,                        Possible),

        ("may be missed",                          missed(usual()),                                   Unknown(Gap::MayBeMissed),      Possible),
        ("may be missed, leaving",                 missed(leaving(ttl(64, 64))),                      Unknown(Gap::MayBeMissed),      Possible),
        ("leaves its host",                        leaving(ttl(64, 64)),                              Alleged,                        Certain),
        ("leaves a bridge",                        with(leaving(ttl(64, 64)), |case| case.others_arrive = true), Alleged,             Likely),
        ("leaves a router",                        leaving(usual()),                                  Alleged,                        Likely),
        ("on its link",                            ttl(64, 64),                                       Alleged,                        Likely),
        ("as usual",                               usual(),                                           Alleged,                        Likely),
    ];
    for (name, case, sender, confidence) in rows {
        let location = case.location();
        assert_eq!((location.sender, location.confidence), (*sender, *confidence), "{name}");
    }
}

#[test]
fn only_what_is_seen_leaving_is_not_a_neighbors() {
    for (case, expected) in [
        (ttl(64, 64), true),
        (leaving(ttl(64, 64)), false),
        (usual(), false),
    ] {
        assert_eq!(case.may_be_neighbor(), expected, "{case:?}");
    }
    for (ttl, arrives, is_last, expected) in [
        (63, false, false, ""),
        (
            64,
            false,
            false,
            ", by the host of here or a neighbor of it (no router in between),",
        ),
        (
            64,
            true,
            false,
            ", by a neighbor of here (no router in between),",
        ),
        (
            64,
            false,
            true,
            ", by a neighbor of here (no router in between),",
        ),
    ] {
        let case = LocatedCase {
            ttl,
            arrives,
            is_last,
            ..usual()
        };
        assert_eq!(case.distance(), expected);
    }
}

#[test]
fn the_text_names_captures_and_ttls() {
    let passed = |ttl, micros: Option<u64>| LocatedCase {
        passed: Some(Later {
            capture: "later".into(),
            later: micros.map(Duration::from_micros),
            ttl,
        }),
        ..leaving(self::ttl(64, 64))
    };
    let rows: &[(LocatedCase, &str, &[EvidenceKind])] = &[
        (
            not_seen(not_arrived(ttl(64, 63)), true),
            "it left this host with TTL 64 without having arrived",
            &[NotPassed, NotSeen, Ttl, WentOn],
        ),
        (
            leaving(ttl(64, 63)),
            "in here it leaves the host with TTL 64, an initial TTL, where other packets have 63",
            &[Ttl],
        ),
        (
            not_seen(leaving(ttl(64, 63)), false),
            "before does not contain it, and in here it leaves the host with TTL 64, an initial TTL",
            &[NotSeen, Ttl],
        ),
        (
            not_seen(usual(), true),
            "before covers that time and does not contain it, here does",
            &[NotSeen, WentOn],
        ),
        (
            not_seen(usual(), false),
            "before covers that time and does not contain it; but in here it has the usual TTL of its source, so before may have missed it",
            &[NotSeen],
        ),
        (
            not_seen(ttl(62, 63), false),
            "before covers that time and does not contain it; but its TTL in here, 62, is compatible with its source, so before may have missed it",
            &[NotSeen, Ttl],
        ),
        (
            ttl(50, 60),
            "in here it appears with TTL 50 where other packets have 60",
            &[Ttl],
        ),
        (
            passed(63, Some(12)),
            "it appears first in here, with TTL 64, the initial TTL of its source; in later it appears 12 µs later with TTL 63",
            &[Ttl, Left, Passed],
        ),
        (
            passed(64, None),
            "it appears first in here, with TTL 64, the initial TTL of its source; it also appears in later",
            &[Ttl, Left, Passed],
        ),
        (
            usual(),
            "in here it appears with TTL 63, like all packets from there; no capture is closer to the source",
            &[Ttl],
        ),
        (
            ttl(61, 60),
            "in here it appears with TTL 61, where other packets have 60: another route or initial TTL of its source explains this as \
             well as another sender",
            &[Missing],
        ),
    ];
    for (case, because, kinds) in rows {
        let explanation = case.explain(case.location().sender);
        assert_eq!(explanation.summary, *because);
        let found: Vec<_> = explanation
            .evidence
            .iter()
            .map(|fact| fact.kind.clone())
            .collect();
        let expected: Vec<_> = kinds.iter().copied().map(Kind::Known).collect();
        assert_eq!(found, expected, "{because}");
    }
    for (nanos, text) in [(300, "300 ns"), (12_900, "12 µs"), (200_000, "0.2 ms")] {
        assert_eq!(delay(Duration::from_nanos(nanos)), text);
    }
}
