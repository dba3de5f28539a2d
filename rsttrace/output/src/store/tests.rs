//! Tests of the history.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::event::BootTime;
use crate::filter::{Filter, Ports, ProcessTerm, Terms};
use crate::hash::HashMap;
use crate::record::Output;
use crate::record::{Cause, Record, Severity, SuppressedRecord, sample_failure};
use crate::sink::append_json;

fn samples() -> Vec<Record> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/records");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
        .collect()
}

fn reset(record: &Record) -> Output {
    Output::Reset(Box::new(record.clone()))
}

fn sum() -> Output {
    let sum: SuppressedRecord =
        serde_json::from_str(include_str!("../../../tests/data/suppressed.json")).unwrap();
    Output::Suppressed(Box::new(sum))
}

fn failure() -> Output {
    Output::Failure(Box::new(sample_failure()))
}

/// The samples are of January.
fn limits() -> Limits {
    Limits {
        age: Duration::from_secs(100 * 365 * 24 * 3_600),
        ..Limits::default()
    }
}

struct Place {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place {
        file: folder.path().join("deep/history.db"),
        _folder: folder,
    }
}

fn store(outputs: &[Output]) -> Place {
    let place = place();
    let mut writer = Writer::open(&place.file, limits()).unwrap();
    let appended = writer.append(outputs);
    assert_eq!((appended.stored, appended.lost), (outputs.len() as u64, 0));
    place
}

fn ask(place: &Place, query: &Query) -> Vec<Stored> {
    let store = Store::open_read(&place.file).unwrap();
    let records = store.records(query).unwrap();
    records.map(Result::unwrap).collect()
}

fn everything() -> Query {
    Query {
        noise: true,
        ..Query::default()
    }
}

fn line(output: &Output) -> String {
    let mut line = Vec::new();
    match output {
        Output::Reset(it) => append_json(&mut line, &**it),
        Output::Failure(it) => append_json(&mut line, &**it),
        Output::Suppressed(it) => append_json(&mut line, &**it),
    }
    .unwrap();
    String::from_utf8(line).unwrap()
}

fn all() -> Vec<Output> {
    let mut all: Vec<Output> = samples().iter().map(reset).collect();
    all.extend([sum(), failure()]);
    all
}

#[test]
fn what_is_asked_for_comes_back_as_it_was_judged_and_as_it_was_shown() {
    let place = store(&all());
    let found = ask(&place, &everything());
    assert_eq!(found.len(), all().len());
    for (found, output) in found.iter().zip(all()) {
        assert_eq!(found.output, output);
        assert_eq!(found.line, line(&output));
    }
    let extent = Store::open_read(&place.file).unwrap().extent().unwrap();
    assert_eq!(
        (extent.resets, extent.failures, extent.sums),
        (samples().len() as u64, 1, 1)
    );
    let times: Vec<Timestamp> = samples()
        .iter()
        .map(|it| it.time.parse().unwrap())
        .collect();
    assert_eq!(extent.first, times.iter().min().copied());
    assert_eq!(extent.last, times.iter().max().copied());
}

/// What the database lets through is what the filter alone wants, for each of many queries.
#[test]
fn what_the_database_leaves_out_was_not_wanted() {
    let place = store(&all());
    let terms = terms_of_samples();
    assert!(terms.len() > 60);
    let (mut some, mut wrong) = (0, Vec::new());
    for (terms, except, noise) in terms.into_iter().flat_map(|terms| {
        [(false, false), (false, true), (true, false), (true, true)]
            .map(|(except, noise)| (terms.clone(), except, noise))
    }) {
        let mut filter = Filter::default();
        *(if except {
            &mut filter.except
        } else {
            &mut filter.only
        }) = terms;
        let query = Query {
            filter,
            noise,
            ..Query::default()
        };
        let wanted: Vec<Output> = all().into_iter().filter(|it| query.wants(it)).collect();
        let found = ask(&place, &query).into_iter().map(|it| it.output);
        let found: Vec<Output> = found.collect();
        if found != wanted {
            let (found, wanted) = (found.len(), wanted.len());
            wrong.push(format!("{found} found, {wanted} wanted: {query:?}"));
        }
        some += usize::from(!found.is_empty());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(some > 100, "the queries find too little");
}

/// Terms for everything in the samples, and for values that are not in them.
fn terms_of_samples() -> Vec<Terms> {
    let mut terms: Vec<Terms> = vec![Terms::default()];
    for record in samples() {
        for end in [&record.local, &record.remote] {
            terms.push(Terms {
                addresses: vec![end.address.into()],
                ..Terms::default()
            });
            terms.push(Terms {
                ports: vec![Ports {
                    first: end.port,
                    last: end.port.saturating_add(5),
                }],
                ..Terms::default()
            });
        }
        terms.push(Terms {
            causes: vec![record.verdict.cause],
            severities: vec![record.verdict.severity, Severity::Fault],
            directions: vec![record.direction],
            netns: record.netns.into_iter().collect(),
            ..Terms::default()
        });
        for process in record.process.iter().chain(record.owner.as_deref()) {
            let exe = process
                .exe
                .as_deref()
                .and_then(|exe| Path::new(exe).file_name());
            let names = [
                Some(process.comm.as_str()),
                exe.and_then(|exe| exe.to_str()),
            ];
            let long = format!("{}-and-longer", process.comm);
            for name in names.into_iter().flatten().chain([long.as_str(), "x"]) {
                terms.push(Terms {
                    processes: vec![ProcessTerm::Name(name.to_owned())],
                    ..Terms::default()
                });
            }
            terms.push(Terms {
                processes: vec![ProcessTerm::Pid(process.pid), ProcessTerm::Pid(1)],
                ..Terms::default()
            });
            let cut = |id: &str| id.chars().take(7).collect::<String>().to_uppercase();
            let units = process.unit.iter().map(ToString::to_string);
            terms.push(Terms {
                units: units
                    .clone()
                    .chain(units.map(|unit| unit.replace(".service", "")))
                    .collect(),
                containers: process.container_id.iter().map(|id| cut(id)).collect(),
                pods: process.pod_uid.iter().map(|id| cut(id)).collect(),
                ..Terms::default()
            });
            if let Some(names) = &process.workload {
                let (pod, namespace) = (names.pod.as_deref(), names.namespace.as_deref());
                let (pod, namespace) = (pod.unwrap_or("x"), namespace.unwrap_or("x"));
                for pod in [
                    pod.to_owned(),
                    format!("{}*", cut(pod)),
                    format!("{namespace}/{pod}"),
                    format!("{namespace}/*"),
                    format!("*/{pod}"),
                    "*".to_owned(),
                ] {
                    terms.push(Terms {
                        pods: vec![pod],
                        containers: names.container.iter().map(ToString::to_string).collect(),
                        ..Terms::default()
                    });
                }
            }
        }
    }
    terms
}

#[test]
fn times_peers_and_known_silences_narrow_it_down() {
    let place = store(&all());
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let samples = samples();
    let first = samples.iter().map(|it| it.time.as_str()).min().unwrap();
    let query = |query: Query| ask(&place, &query).len();
    let of = Query {
        since: at(first),
        until: at(first),
        ..everything()
    };
    assert_eq!(query(of), 0, "the end is not included");
    let until = at(first).map(|time| time + jiff::SignedDuration::from_nanos(1));
    let of = Query {
        since: at(first),
        until,
        ..everything()
    };
    assert!(query(of) >= 1, "the beginning is");
    let peers = vec!["10.0.3.0/24".parse().unwrap()];
    for stored in ask(
        &place,
        &Query {
            peers,
            ..everything()
        },
    ) {
        if let Output::Reset(record) = stored.output {
            assert!(record.remote.address.to_string().starts_with("10.0.3."));
        }
    }
    let of = Query {
        quiet: true,
        ..everything()
    };
    let known = samples
        .iter()
        .filter(|it| query::quiet_of(it).is_some())
        .count();
    let found = ask(&place, &of);
    let resets = found
        .iter()
        .filter(|it| matches!(it.output, Output::Reset(_)));
    assert_eq!(resets.count(), known);
}

#[test]
fn the_newest_are_the_last_ones() {
    let mut outputs = Vec::new();
    let sample = samples().remove(1);
    for number in 0..3_000_u64 {
        let mut record = sample.clone();
        record.id.number = number;
        if number % 2 == 0 {
            record.verdict.cause = Cause::LingerZero;
        }
        outputs.push(reset(&record));
    }
    let place = store(&outputs);
    let newest = |newest, cause: &[Cause]| -> Vec<u64> {
        let mut query = Query {
            newest: Some(newest),
            ..everything()
        };
        query.filter.only.causes = cause.to_vec();
        let found = ask(&place, &query)
            .into_iter()
            .map(|stored| match stored.output {
                Output::Reset(record) => record.id.number,
                other => panic!("a reset expected, not {other:?}"),
            });
        found.collect()
    };
    assert_eq!(newest(2, &[]), [2_998, 2_999]);
    assert_eq!(newest(2, &[Cause::LingerZero]), [2_996, 2_998]);
    assert_eq!(newest(0, &[]), [] as [u64; 0]);
    assert_eq!(newest(2_500, &[]).len(), 2_500);
    assert_eq!(newest(9_999, &[]).len(), 3_000);
}

#[test]
fn all_files_together_stay_below_the_limit_while_ten_times_as_much_is_written() {
    let place = place();
    let limits = Limits {
        bytes: Limits::LEAST_BYTES,
        ..limits()
    };
    let mut writer = Writer::open(&place.file, limits).unwrap();
    let (mut handed_in, mut most) = (0, 0);
    let mut number = 0_u64;
    let samples = samples();
    while handed_in < 10 * limits.bytes {
        let mut outputs = Vec::new();
        for _ in 0..200 {
            number += 1;
            let mut record = samples[usize::try_from(number).unwrap() % samples.len()].clone();
            record.id.number = number;
            record.verdict.edit(|text| text.summary = unpackable());
            handed_in += record.verdict.summary().len() as u64;
            outputs.push(reset(&record));
        }
        let appended = writer.append(&outputs);
        assert_eq!(appended.lost, 0, "{:?}", appended.error);
        most = most.max(writer.bytes());
        assert!(writer.bytes() <= limits.bytes, "{}", writer.bytes());
    }
    drop(writer);
    assert!(most > limits.bytes / 2, "hardly used: {most}");
    let found = ask(&place, &everything());
    assert!(found.len() > 1_000, "{}", found.len());
    // Of each severity the newest are there, without a gap.
    let mut kept: HashMap<Severity, Vec<u64>> = HashMap::default();
    for stored in &found {
        let record = reset_of(stored);
        let of_severity = kept.entry(record.verdict.severity).or_default();
        of_severity.push(record.id.number);
    }
    assert_eq!(reset_of(found.last().unwrap()).id.number, number);
    for (severity, kept) in kept {
        let sample = |number: &u64| &samples[usize::try_from(*number).unwrap() % samples.len()];
        let all = (1..=number).filter(|it| sample(it).verdict.severity == severity);
        let newest: Vec<u64> = all.skip_while(|it| *it < kept[0]).collect();
        assert!(kept == newest, "{severity}");
    }
}

fn reset_of(stored: &Stored) -> &Record {
    match &stored.output {
        Output::Reset(record) => record,
        other => panic!("a reset expected: {other:?}"),
    }
}

/// Records of a severity, numbered on from `number`.
fn of_severity(severity: Severity, number: &mut u64, count: usize) -> Vec<Output> {
    let samples = samples();
    let sample = samples.iter().find(|it| {
        it.verdict.severity == severity && (severity != Severity::Noise || it.is_noise(true))
    });
    let sample = sample.unwrap_or_else(|| panic!("no sample of {severity}"));
    let next = |_| {
        *number += 1;
        let mut record = sample.clone();
        record.id.number = *number;
        reset(&record)
    };
    (0..count).map(next).collect()
}

fn count_of(place: &Place, severity: Severity) -> usize {
    let found = ask(place, &everything());
    let all = found.iter();
    all.filter(|it| reset_of(it).verdict.severity == severity)
        .count()
}

#[test]
fn noise_and_refused_connects_evict_no_fault() {
    let place = place();
    let limits = Limits {
        bytes: Limits::LEAST_BYTES,
        ..limits()
    };
    let mut number = 0;
    let mut writer = Writer::open(&place.file, limits).unwrap();
    let faults = of_severity(Severity::Fault, &mut number, 400);
    let refused = of_severity(Severity::Refused, &mut number, 400);
    for staged in [&faults, &refused] {
        assert_eq!(writer.append(staged).lost, 0);
    }
    // Three minutes of 300 a second; it overwrites this file several times.
    for _ in 0..100 {
        let noise = of_severity(Severity::Noise, &mut number, 512);
        assert_eq!(writer.append(&noise).lost, 0);
        assert!(writer.bytes() <= limits.bytes, "{}", writer.bytes());
    }
    assert_eq!(count_of(&place, Severity::Fault), 400);
    assert_eq!(count_of(&place, Severity::Refused), 400);
    let noise = count_of(&place, Severity::Noise);
    assert!((1_000..100_000).contains(&noise), "{noise}");
    // A scan of closed ports evicts the noise, and then its own. A new run knows as well what goes first.
    drop(writer);
    let mut writer = Writer::open(&place.file, limits).unwrap();
    for _ in 0..30 {
        let refused = of_severity(Severity::Refused, &mut number, 512);
        assert_eq!(writer.append(&refused).lost, 0);
    }
    assert_eq!(count_of(&place, Severity::Fault), 400);
    assert!(count_of(&place, Severity::Refused) > noise / 2);
    // Faults alone evict faults, and what has just happened is there all the same.
    for _ in 0..30 {
        let faults = of_severity(Severity::Fault, &mut number, 512);
        assert_eq!(writer.append(&faults).lost, 0);
    }
    let noise = of_severity(Severity::Noise, &mut number, 512);
    assert_eq!(writer.append(&noise).lost, 0);
    assert_eq!(count_of(&place, Severity::Noise), 512);
    assert!(count_of(&place, Severity::Fault) > 1_000);
}

#[test]
fn faults_stay_also_when_everything_before_them_was_too_old() {
    let limits = Limits {
        bytes: Limits::LEAST_BYTES,
        ..Limits::default()
    };
    let newest = samples().iter().map(|it| it.time.clone()).max().unwrap();
    let newest: Timestamp = newest.parse().unwrap();
    let days = |days: u64| jiff::SignedDuration::from_hours(24 * days.cast_signed());
    let boot = |days: u64| BootTime(days * 86_400_000_000_000);
    // The file holds some 20 of these batches: it has removed as many as it keeps.
    for before in [38, 39, 40, 41] {
        let place = place();
        let mut number = 0;
        let mut writer = Writer::open(&place.file, limits).unwrap();
        let mut append = |writer: &mut Writer, severity, batches: usize| {
            for _ in 0..batches {
                let outputs = of_severity(severity, &mut number, 512);
                assert_eq!(writer.append(&outputs).lost, 0);
            }
        };
        append(&mut writer, Severity::Noise, before);
        for day in [0, 10, 20] {
            writer.expire(newest + days(day), boot(day)).unwrap();
        }
        assert_eq!(ask(&place, &everything()).len(), 0);
        // Its numbers begin at 1 again.
        append(&mut writer, Severity::Fault, 1);
        append(&mut writer, Severity::Noise, 24);
        assert_eq!(count_of(&place, Severity::Fault), 512, "{before}");
    }
}

/// Text that hardly shrinks, of 1,200 bytes.
fn unpackable() -> String {
    unpackable_of(1_200)
}

fn unpackable_of(bytes: usize) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let mut state = RandomState::new().hash_one(1) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    std::iter::repeat_with(&mut next).take(bytes).collect()
}

#[test]
fn a_smaller_limit_shrinks_what_is_there() {
    let place = place();
    let mut record = samples().remove(1);
    let mut outputs = Vec::new();
    for number in 0..12_000 {
        record.id.number = number;
        record.verdict.edit(|text| text.summary = unpackable());
        outputs.push(reset(&record));
    }
    let mut writer = Writer::open(&place.file, limits()).unwrap();
    writer.append(&outputs);
    assert!(
        writer.bytes() > 2 * Limits::LEAST_BYTES,
        "{}",
        writer.bytes()
    );
    drop(writer);
    let mut writer = Writer::open(
        &place.file,
        Limits {
            bytes: Limits::LEAST_BYTES,
            ..limits()
        },
    )
    .unwrap();
    let begun = std::time::Instant::now();
    assert!(!writer.restrict(Duration::ZERO).unwrap(), "in slices");
    while !writer.has_room(0).unwrap() {
        writer.remove_some().unwrap();
    }
    // One transaction gives back many pages.
    assert_eq!(writer.give_back().unwrap(), writer.given_back());
    let mut slices = 0;
    while !writer.restrict(Duration::from_millis(200)).unwrap() {
        slices += 1;
    }
    println!("{:?}, {slices} slices", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(writer.bytes() <= Limits::LEAST_BYTES, "{}", writer.bytes());
    assert!(ask(&place, &everything()).len() > 1_000);
}

#[test]
fn what_is_too_old_goes() {
    let place = place();
    let mut writer = Writer::open(&place.file, limits()).unwrap();
    let mut young = samples().remove(1);
    young.time = Timestamp::now().to_string();
    let mut outputs = all();
    outputs.push(reset(&young));
    writer.append(&outputs);
    drop(writer);
    let mut writer = Writer::open(&place.file, Limits::default()).unwrap();
    let now = Timestamp::now();
    let next = writer.expire(now, BootTime(0)).unwrap().unwrap();
    assert_eq!(ask(&place, &everything()).len(), 1);
    let left = next.duration_since(now);
    assert!(left > jiff::SignedDuration::from_hours(6 * 24), "{left}");
    let second = jiff::SignedDuration::from_secs(1);
    let later = BootTime(u64::try_from((left + second).as_nanos()).unwrap());
    assert_eq!(writer.expire(next + second, later).unwrap(), None);
    assert_eq!(ask(&place, &everything()).len(), 0);
}

#[test]
fn a_clock_that_leaps_ahead_erases_nothing() {
    let place = store(&all());
    let number = all().len();
    let newest = samples().iter().map(|it| it.time.clone()).max().unwrap();
    let newest: Timestamp = newest.parse().unwrap();
    let year = |number: i64| jiff::SignedDuration::from_hours(365 * 24 * number);
    let hours = |number: u64| BootTime(number * 3_600_000_000_000);
    // At the start.
    let mut writer = Writer::open(&place.file, Limits::default()).unwrap();
    writer.expire(newest + year(20), hours(1)).unwrap();
    assert_eq!(ask(&place, &everything()).len(), number);
    drop(writer);
    // And while it runs.
    let mut writer = Writer::open(&place.file, Limits::default()).unwrap();
    writer.expire(newest, hours(1)).unwrap();
    writer.expire(newest + year(1), hours(2)).unwrap();
    assert_eq!(ask(&place, &everything()).len(), number);
    // It keeps that time: then so it is.
    writer.expire(newest + year(2), hours(40)).unwrap();
    writer
        .expire(
            newest + year(2) + jiff::SignedDuration::from_hours(30),
            hours(70),
        )
        .unwrap();
    assert_eq!(ask(&place, &everything()).len(), 0);
}

/// Rows of which hardly two fit into a page, or which go on in others.
#[test]
fn large_rows_never_stop_the_storing() {
    for range in [2_500..3_300, 6_000..40_000] {
        let place = place();
        let limits = Limits {
            bytes: 32 << 20,
            ..limits()
        };
        let mut writer = Writer::open(&place.file, limits).unwrap();
        let sample = samples().remove(1);
        let mut handed_in = 0;
        let mut length = range.start;
        while handed_in < 40 << 20 {
            let mut outputs = Vec::new();
            for _ in 0..500 {
                length = range.start + (length + 977 - range.start) % (range.end - range.start);
                let mut record = sample.clone();
                record
                    .verdict
                    .edit(|text| text.summary = unpackable_of(length));
                handed_in += length;
                outputs.push(reset(&record));
            }
            let appended = writer.append(&outputs);
            assert_eq!(appended.lost, 0, "{range:?}: {:?}", appended.error);
            assert!(writer.bytes() <= limits.bytes, "{}", writer.bytes());
        }
        drop(writer);
        let kept: usize = ask(&place, &everything())
            .iter()
            .map(|it| it.line.len())
            .sum();
        println!("{range:?}: {kept} bytes of lines in {}", limits.bytes);
        assert!(kept > 8 << 20, "{range:?}: {kept}");
    }
}

#[test]
fn where_the_limit_is_met_all_the_same_the_oldest_go_and_the_disk_is_not_blamed() {
    let place = store(&[]);
    let mut writer = Writer::open(&place.file, limits()).unwrap();
    let outputs: Vec<Output> = (0..100).flat_map(|_| all()).collect();
    assert_eq!(writer.append(&outputs).lost, 0);
    writer.limit_to_what_is_there();
    let before = ask(&place, &everything()).len();
    let appended = writer.append(&outputs[..200]);
    assert_eq!(appended.lost, 0, "{:?}", appended.error);
    assert!(ask(&place, &everything()).len() < before + 200);
    // Nothing is left that could go.
    let mut record = samples().remove(1);
    record
        .verdict
        .edit(|text| text.summary = unpackable_of(900_000));
    let vast = vec![reset(&record); 9];
    let error = writer.append(&vast).error.unwrap().to_string();
    assert!(error.contains("larger --keep-size"), "{error}");
}

#[test]
fn nothing_is_made_beside_what_is_no_history_or_through_a_link() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("passwd");
    std::fs::write(&text, "root:x:0:0:".repeat(99)).unwrap();
    let other = folder.path().join("mail.db");
    let connection = Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE a (b)").unwrap();
    drop(connection);
    for file in [&text, &other] {
        let error = Writer::open(file, limits()).err().unwrap();
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    // A link that would have one of our files truncated.
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    symlink(&precious, folder.path().join("history.db-lock")).unwrap();
    assert!(Writer::open(&folder.path().join("history.db"), limits()).is_err());
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    if nix::unistd::geteuid().is_root() {
        let place = store(&all());
        std::os::unix::fs::chown(&place.file, Some(1), None).unwrap();
        let error = Writer::open(&place.file, limits()).err().unwrap();
        assert!(matches!(error, StoreError::Others(_)), "{error}");
    }
}

#[test]
fn a_store_that_others_could_read_is_its_owners_alone_from_then_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = store(&all());
    std::fs::set_permissions(&place.file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _writer = Writer::open(&place.file, limits()).unwrap();
    let mode = std::fs::metadata(&place.file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn ids_that_are_far_apart_are_read_at_once() {
    let place = store(&all());
    let change = Connection::open(&place.file).unwrap();
    let last = format!("UPDATE record SET id = {} WHERE id = 1", i64::MAX);
    change.execute_batch(&last).unwrap();
    drop(change);
    let begun = std::time::Instant::now();
    let found = ask(&place, &everything());
    assert_eq!(found.len(), all().len());
    assert_eq!(found.last().unwrap().id, i64::MAX);
    let newest = Query {
        newest: Some(1_000),
        ..everything()
    };
    assert_eq!(ask(&place, &newest).len(), all().len());
    let newest = Query {
        newest: Some(1),
        ..everything()
    };
    assert_eq!(ask(&place, &newest).len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_only_looks_like_a_store_is_not_asked() {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    for hostile in [
        format!("DROP TABLE record; CREATE VIEW record AS {endless} SELECT i AS id, i AS time, 0 AS kind, 0 AS coding, x'' AS line FROM n;"),
        format!("CREATE TRIGGER t AFTER DELETE ON record BEGIN INSERT INTO record (time, kind, coding, line) {endless} SELECT i, 0, 0, x'' FROM n; END;").replace("WITH RECURSIVE", "WITH"),
        "ALTER TABLE record ADD COLUMN more AS (randomblob(1000000))".to_owned(),
        "CREATE INDEX other ON record (hex(line))".to_owned(),
    ] {
        let place = store(&all());
        let change = Connection::open(&place.file).unwrap();
        if change.execute_batch(&hostile).is_err() {
            continue;
        }
        drop(change);
        let error = Store::open_read(&place.file).err().unwrap();
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
        let error = Writer::open(&place.file, limits()).err().unwrap();
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
    // An unused value.
    let place = store(&all());
    let change = Connection::open(&place.file).unwrap();
    change
        .execute_batch("UPDATE record SET coding = 0, line = zeroblob(5000000) WHERE id = 2")
        .unwrap();
    drop(change);
    let store = Store::open_read(&place.file).unwrap();
    let found: Vec<_> = store.records(&everything()).unwrap().collect();
    assert!(matches!(
        found.last(),
        Some(Err(StoreError::Damaged { .. }))
    ));
    // What SQLite makes for itself does no harm.
    let place = self::store(&all());
    Connection::open(&place.file)
        .unwrap()
        .execute_batch("ANALYZE")
        .unwrap();
    assert_eq!(ask(&place, &everything()).len(), all().len());
}

#[test]
fn a_reader_in_the_middle_neither_blocks_the_writer_nor_lets_its_log_grow() {
    let place = store(&all());
    let limits = Limits {
        bytes: Limits::LEAST_BYTES,
        ..limits()
    };
    let reader = Connection::open(&place.file).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM record")
        .unwrap();
    reader
        .query_row("SELECT count(*) FROM record", [], |_| Ok(()))
        .unwrap();
    let mut writer = Writer::open(&place.file, limits).unwrap();
    let mut record = samples().remove(1);
    let mut held = None;
    for _ in 0..400 {
        record.verdict.edit(|text| text.summary = unpackable());
        let appended = writer.append(&vec![reset(&record); 20]);
        held = held.or(appended.error.map(|error| error.to_string()));
        assert!(writer.bytes() <= limits.bytes, "{}", writer.bytes());
    }
    assert!(held.unwrap().contains("locked by another program"));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(writer.append(&all()).lost, 0);
}

#[test]
fn readers_see_what_is_stored_while_it_is_written() {
    let place = store(&[]);
    let limits = limits();
    let writer = std::thread::spawn({
        let file = place.file.clone();
        move || {
            let mut writer = Writer::open(&file, limits).unwrap();
            for _ in 0..50 {
                assert_eq!(writer.append(&all()).lost, 0);
            }
        }
    });
    let mut before = 0;
    while !writer.is_finished() {
        let found = ask(&place, &everything()).len();
        assert!(found >= before && found.is_multiple_of(all().len()));
        before = found;
    }
    writer.join().unwrap();
    assert_eq!(ask(&place, &everything()).len(), 50 * all().len());
}

#[test]
fn a_second_writer_gets_the_name_of_the_first() {
    let place = store(&[]);
    let first = Writer::open(&place.file, limits()).unwrap();
    let error = Writer::open(&place.file, limits())
        .err()
        .unwrap()
        .to_string();
    let pid = format!("PID {}", std::process::id());
    assert!(error.contains(&pid), "{error}");
    drop(first);
    Writer::open(&place.file, limits()).unwrap();
}

#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = store(&all());
    let _writer = Writer::open(&place.file, limits()).unwrap();
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    let folder = place.file.parent().unwrap();
    assert_eq!(mode(folder), 0o750);
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn what_is_not_there_or_no_store_is_said_with_the_next_step() {
    let place = place();
    let missing = Store::open_read(&place.file).err().unwrap().to_string();
    assert!(missing.contains("watch --store"), "{missing}");
    std::fs::create_dir_all(&place.file).unwrap();
    for error in [
        Store::open_read(&place.file).err().unwrap(),
        Writer::open(&place.file, limits()).err().unwrap(),
    ] {
        assert!(matches!(error, StoreError::Foreign(_)), "{error}");
    }
}

#[test]
fn a_damaged_store_is_refused_or_reported_and_nothing_panics() {
    let outputs: Vec<Output> = (0..20).flat_map(|_| all()).collect();
    let place = store(&outputs);
    let whole = std::fs::read(&place.file).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 150) {
        let mut bytes = whole.clone();
        for byte in bytes.iter_mut().skip(at).take(40) {
            *byte = !*byte;
        }
        if at % 3 == 0 {
            bytes.truncate(at);
        }
        std::fs::write(&place.file, &bytes).unwrap();
        if let Ok(store) = Store::open_read(&place.file) {
            let _ = store.extent();
            if let Ok(records) = store.records(&everything()) {
                records.take(1_000).for_each(drop);
            }
        }
        if let Ok(mut writer) = Writer::open(&place.file, limits()) {
            let _ = writer.append(&all());
        }
    }
}

#[test]
fn a_disk_that_does_not_follow_costs_records_and_no_time() {
    let place = store(&[]);
    let keeper = Keeper::start(&place.file, limits()).unwrap();
    let other = Connection::open(&place.file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let outputs = vec![reset(&samples().remove(1)); 20_000];
    let begun = std::time::Instant::now();
    for output in outputs {
        keeper.offer(output);
    }
    assert!(begun.elapsed() < schema::PATIENCE, "{:?}", begun.elapsed());
    let lost = keeper.vitals().lost;
    assert!(lost > 10_000, "{lost}");
    other.execute_batch("COMMIT").unwrap();
    let vitals = keeper.finish();
    assert_eq!(vitals.stored + vitals.lost, 20_000);
    assert_eq!(ask(&place, &everything()).len() as u64, vitals.stored);
}

#[test]
fn the_thread_stores_without_being_asked_and_all_at_the_end() {
    let place = place();
    let keeper = Keeper::start(&place.file, limits()).unwrap();
    keeper.offer(sum());
    let begun = std::time::Instant::now();
    while ask(&place, &everything()).is_empty() {
        // It takes half a second, and what a loaded machine adds.
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(10));
    }
    for output in all() {
        keeper.offer(output);
    }
    let vitals = keeper.finish();
    assert_eq!((vitals.stored, vitals.lost), (all().len() as u64 + 1, 0));
    assert_eq!(ask(&place, &everything()).len(), all().len() + 1);
}

#[test]
fn new_limits_apply_to_a_history_that_is_being_written() {
    let place = place();
    let keeper = Keeper::start(&place.file, limits()).unwrap();
    let await_count = |count: usize| {
        let begun = std::time::Instant::now();
        while ask(&place, &everything()).len() != count {
            assert!(begun.elapsed() < Duration::from_secs(5), "not {count}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    for output in all() {
        keeper.offer(output);
    }
    await_count(all().len());
    // The records are of January.
    keeper.set_limits(Limits {
        age: Duration::from_secs(3_600),
        ..limits()
    });
    await_count(0);
    keeper.set_limits(limits());
    keeper.offer(sum());
    assert_eq!(keeper.finish().lost, 0);
    assert_eq!(ask(&place, &everything()).len(), 1);
}

#[test]
fn new_limits_remove_what_is_too_old_before_what_is_too_much() {
    let place = place();
    let mut number = 0;
    // January, and more than the new size.
    let mut outputs = of_severity(Severity::Fault, &mut number, 12_000);
    for output in &mut outputs {
        if let Output::Reset(record) = output {
            record.verdict.edit(|text| text.summary = unpackable());
        }
    }
    // Now.
    for severity in [Severity::Noise, Severity::Fault] {
        let mut young = of_severity(severity, &mut number, 3_000);
        for output in &mut young {
            if let Output::Reset(record) = output {
                record.time = Timestamp::now().to_string();
            }
        }
        outputs.extend(young);
    }
    let mut writer = Writer::open(&place.file, limits()).unwrap();
    assert_eq!(writer.append(&outputs).lost, 0);
    assert!(
        writer.bytes() > 2 * Limits::LEAST_BYTES,
        "{}",
        writer.bytes()
    );
    drop(writer);
    let keeper = Keeper::start(&place.file, limits()).unwrap();
    keeper.set_limits(Limits {
        age: Duration::from_secs(3_600),
        bytes: Limits::LEAST_BYTES,
    });
    let begun = std::time::Instant::now();
    while keeper.vitals().bytes > 2 * Limits::LEAST_BYTES {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
    keeper.finish();
    assert_eq!(count_of(&place, Severity::Noise), 3_000);
    assert_eq!(count_of(&place, Severity::Fault), 3_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_record_comes_back(
        which in 0_usize..13,
        summary in any::<String>(),
        comm in any::<String>(),
        unit in prop::option::of(any::<String>()),
        address in any::<std::net::IpAddr>(),
        quiet in prop::option::of(0.0_f64..1e9),
        seconds in 0_i64..4_000_000_000,
    ) {
        let mut record = samples().remove(which);
        record.verdict.edit(|text| text.summary = summary);
        record.time = Timestamp::from_second(seconds).unwrap().to_string();
        record.remote.address = address;
        if let Some(process) = &mut record.process {
            process.comm = comm.into();
            process.unit = unit.map(Into::into);
        }
        if let Some(idle) = &mut record.idle {
            idle.quiet_before = quiet;
        }
        let place = store(&[reset(&record)]);
        let found = ask(&place, &everything());
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].line, &line(&reset(&record)));
        prop_assert_eq!(&found[0].output, &reset(&record));
        // Whatever it is called, it is found by that.
        if let Some(process) = &record.process {
            let mut query = everything();
            query.filter.only.processes = vec![ProcessTerm::Name(process.comm.to_string())];
            prop_assert_eq!(ask(&place, &query).len(), 1);
            query.filter.only.processes.clear();
            query.filter.only.units = process.unit.iter().map(ToString::to_string).collect();
            prop_assert_eq!(ask(&place, &query).len(), 1);
        }
    }
}
