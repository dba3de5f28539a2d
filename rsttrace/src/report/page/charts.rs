//! The plots: when, after how long a silence, and who had most.
//!
//! Bars are SVG that is stretched to the page; words are HTML beside them, so that they keep their size on a telephone.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{SEVERITIES, class, severity_name, shown};
use crate::record::Basis;
use crate::report::gather::{Gathering, KINDS_OF_SILENCE, Timeout};
use crate::report::quiet::Histogram;
use crate::report::sentence::things;
use crate::report::tally::{Counts, Tally, total};
use crate::report::timeline::{Timeline, steps, widths};
use crate::sink::text::count;
use crate::verdict::words;

/// Units of one bar and of a plot's height.
const BAR: f64 = 10.0;
const GAP: f64 = 1.0;
const HEIGHT: f64 = 100.0;
/// Words below a plot.
const TICKS: i64 = 6;
/// Fewer steps are told in words.
const LEAST_STEPS: usize = 3;
/// Timeouts that are marked.
const MARKS: usize = 12;
/// Part of the width that a mark's letter takes.
const LETTER: f64 = 0.03;
const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// Lengths of time that are told below the scale of silences: seconds, words.
const LENGTHS: &[(f64, &str)] = &[
    (0.001, "1 ms"),
    (0.01, "10 ms"),
    (0.1, "0.1 s"),
    (1.0, "1 s"),
    (10.0, "10 s"),
    (60.0, "1 min"),
    (300.0, "5 min"),
    (900.0, "15 min"),
    (3_600.0, "1 h"),
    (21_600.0, "6 h"),
    (86_400.0, "1 d"),
    (604_800.0, "7 d"),
];
/// Part of the width that such words take.
const WORDS: f64 = 0.11;

/// Resets over time.
pub(super) fn timeline(gathering: &Gathering) -> Markup {
    let Some(line) = steps::<3>(&gathering.marks) else {
        return html! {};
    };
    let step = length_of(line.step as f64 / NANOS as f64);
    let most = line.counts.iter().map(|it| total(*it)).max().unwrap_or(0);
    html! {
        section #timeline {
            h2 { "When" }
            @if line.counts.len() < LEAST_STEPS {
                p { "All of them within " (step) "." }
            } @else {
                figure .plot {
                    (legend(gathering.resets))
                    p .scale { "up to " (count(most)) " records in " (step) }
                    (bars("timeline", &line.counts, &format!("Resets over time, in steps of {step}"),
                        &describe(&line), most))
                    (floods(gathering, &line))
                    div .axis aria-hidden="true" {
                        @for (place, text) in ticks(&line) {
                            span style=(left(place)) { (text) }
                        }
                    }
                    figcaption { "Records of resets in steps of " (step) ", by severity; times are UTC." }
                }
            }
        }
    }
}

/// For those who do not see it: the highest step, and how the kinds add up.
fn describe(line: &Timeline<3>) -> String {
    let highest = line
        .counts
        .iter()
        .enumerate()
        .max_by_key(|(index, counts)| (total(**counts), std::cmp::Reverse(*index)));
    let Some((index, counts)) = highest else {
        return String::new();
    };
    let at = time(line.start + line.step * index as i64, "%Y-%m-%d %H:%M:%S");
    format!(
        "{} steps; most resets, {}, in the one from {at}",
        line.counts.len(),
        count(total(*counts))
    )
}

/// Where floods were counted.
fn floods(gathering: &Gathering, line: &Timeline<3>) -> Markup {
    let span = line.step as f64 * line.counts.len() as f64;
    let place = |time: &str| {
        let nanos = time.parse::<Timestamp>().ok()?.as_nanosecond();
        let nanos = i64::try_from(nanos).ok()?;
        Some(((nanos.saturating_sub(line.start)) as f64 / span).clamp(0.0, 1.0))
    };
    let mut parts: Vec<(f64, f64)> = gathering
        .sums
        .iter()
        .filter_map(|sum| Some((place(&sum.since)?, place(&sum.time)?)))
        .filter(|(from, to)| from <= to)
        .collect();
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (from, to) in parts {
        match joined.last_mut() {
            Some(last) if from <= last.1 + 0.005 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    html! {
        @if !joined.is_empty() {
            div .floods title="resets were counted and not described" aria-hidden="true" {
                @for (from, to) in joined {
                    span style=(format!("left:{:.2}%;width:{:.2}%", from * 100.0, (to - from) * 100.0)) {}
                }
            }
        }
    }
}

fn ticks(line: &Timeline<3>) -> Vec<(f64, String)> {
    let length = line.step.saturating_mul(line.counts.len() as i64);
    let each = widths()
        .find(|width| length / width <= TICKS)
        .unwrap_or(length.max(1));
    let format = match each {
        each if each < NANOS => "%H:%M:%S%.3f",
        each if each >= DAY * NANOS => "%Y-%m-%d",
        _ if length > DAY * NANOS => "%m-%d %H:%M",
        each if each < 60 * NANOS => "%H:%M:%S",
        _ => "%H:%M",
    };
    // On the clock's own strokes.
    let first = line.start + (each - line.start.rem_euclid(each)) % each;
    (0..=TICKS)
        .map(|number| first.saturating_add(each.saturating_mul(number)))
        .map(|at| ((at - line.start) as f64 / length.max(1) as f64, at))
        .filter(|(place, _)| *place < 0.93)
        .map(|(place, at)| (place, time(at, format)))
        .collect()
}

fn time(nanos: i64, format: &str) -> String {
    Timestamp::from_nanosecond(nanos.into())
        .map_or_else(|_| String::new(), |time| time.strftime(format).to_string())
}

/// `5 min`, `1 min 30 s`.
fn length_of(seconds: f64) -> String {
    let text = words::seconds(seconds);
    for nothing in [" 0 s", " 0 min", " 0 h"] {
        if let Some(whole) = text.strip_suffix(nothing) {
            return whole.to_owned();
        }
    }
    text
}

/// Silences before resets.
pub(super) fn quiet(gathering: &Gathering) -> Markup {
    let Some(histogram) = Histogram::<KINDS_OF_SILENCE>::of(&gathering.silences) else {
        return html! {};
    };
    let most = histogram.counts.iter().map(|it| it[0] + it[1]).max();
    let most = most.unwrap_or(0);
    let counts: Vec<Counts> = histogram
        .counts
        .iter()
        .map(|it| [it[0], it[1], 0])
        .collect();
    let marks = marks(gathering, &histogram);
    let total = gathering.silences.len() as u64;
    let rows = marks.iter().map(|it| it.row).fold(0.0, f64::max);
    html! {
        section #silences {
            h2 { "After how long a silence" }
            figure .plot.quiet {
                ul .legend {
                    li .q0 { "called an idle timeout" }
                    li .q1 { "other causes" }
                    @if !marks.is_empty() { li .mark { "a timeout that fits" } }
                }
                p .scale { "up to " (count(most)) " in one step" }
                @if !marks.is_empty() {
                    div .letters aria-hidden="true" style=(format!("height:{:.1}em", rows * 1.2 + 1.4)) {
                        @for mark in &marks {
                            span style=(format!("left:{:.2}%;bottom:{}em", mark.place * 100.0, mark.row * 1.2)) { (mark.letter) }
                        }
                    }
                }
                div .over {
                    (bars("quiet", &counts, "Silences before resets, on a logarithmic scale",
                        &format!("{} from {} to {}", things(total, "silence"),
                            words::seconds(histogram.edge(0)),
                            words::seconds(histogram.edge(histogram.counts.len()))), most))
                    @for mark in &marks { i style=(left(mark.place)) {} }
                }
                div .axis aria-hidden="true" {
                    @for (place, text) in lengths(&histogram) {
                        span style=(left(place)) { (text) }
                    }
                }
                figcaption {
                    "How long the connection had been quiet before the segment that brought the reset: "
                    (things(total, "reset")) " of which that is known. Each step is a fifth longer than the one before."
                }
            }
            @if !marks.is_empty() {
                dl .marks {
                    @for mark in &marks {
                        dt { span .letter { (mark.letter) } " " (mark.length) }
                        dd { (mark.text) }
                    }
                }
            }
        }
    }
}

/// A timeout on the scale.
struct Mark {
    letter: char,
    place: f64,
    row: f64,
    length: String,
    text: String,
}

fn marks(gathering: &Gathering, histogram: &Histogram<KINDS_OF_SILENCE>) -> Vec<Mark> {
    let mut named: Vec<_> = gathering
        .timeouts
        .iter()
        .filter_map(|(millis, timeout)| {
            let seconds = *millis as f64 / 1_000.0;
            Some((seconds, histogram.place(seconds)?, timeout))
        })
        .collect();
    named.sort_by(|a, b| b.2.records.cmp(&a.2.records).then(a.0.total_cmp(&b.0)));
    named.truncate(MARKS);
    named.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut marks: Vec<Mark> = Vec::new();
    for (letter, (seconds, place, timeout)) in ('A'..).zip(named) {
        // Letters too near to the one before stand above it.
        let row = match marks.last() {
            Some(last) if place - last.place < LETTER => (last.row + 1.0) % 3.0,
            _ => 0.0,
        };
        marks.push(Mark {
            letter,
            place,
            row,
            length: length_of(seconds),
            text: who(timeout),
        });
    }
    marks
}

fn who(timeout: &Timeout) -> String {
    let mut parts = Vec::new();
    if let Some(samples) = timeout.learned {
        parts.push(format!("learned here, from {}", things(samples, "reset")));
    }
    for (basis, said) in [
        (Basis::Configured, "configured"),
        (Basis::Host, "a setting of the host"),
        (Basis::Known, "known devices"),
    ] {
        let names: Vec<_> = timeout
            .devices
            .iter()
            .filter(|(_, it)| **it == basis)
            .map(|(name, _)| shown(name, 80))
            .collect();
        if !names.is_empty() {
            parts.push(format!("{said}: {}", names.join(", ")));
        }
    }
    format!(
        "{}; named in {}",
        parts.join("; "),
        things(timeout.records, "record")
    )
}

fn lengths(histogram: &Histogram<KINDS_OF_SILENCE>) -> Vec<(f64, &'static str)> {
    let mut last = -1.0;
    LENGTHS
        .iter()
        .filter_map(|(seconds, text)| {
            let place = histogram.place(*seconds)?;
            let fits = place - last >= WORDS && place < 0.97;
            if fits {
                last = place;
            }
            fits.then_some((place, *text))
        })
        .collect()
}

/// Causes, processes, peers and origins.
pub(super) fn most(gathering: &Gathering, number: usize) -> Markup {
    if gathering.resets() == 0 {
        return html! {};
    }
    html! {
        section #most {
            h2 { "Most often" }
            (legend(gathering.resets))
            div .tables {
                (ranking("Causes", "cause", &gathering.causes, number, |it| it.to_string()))
                (ranking("Origins", "origin", &gathering.origins, number, |it| it.to_string()))
                (ranking("Processes", "process", &gathering.processes, number, |it| shown(it, 40)))
                (ranking("Peers", "address", &gathering.peers, number, |it| it.to_string()))
            }
        }
    }
}

fn ranking<K: Ord + Clone>(
    title: &str,
    column: &str,
    tally: &Tally<K>,
    number: usize,
    name: impl Fn(&K) -> String,
) -> Markup {
    let (top, others) = tally.top(number);
    let most = top.first().map_or(1, |it| total(it.1)).max(1);
    let share = |number: u64| format!("width:{:.2}%", number as f64 / most as f64 * 100.0);
    html! {
        @if !top.is_empty() {
            table .ranking {
                caption { (title) }
                thead {
                    tr { th scope="col" { (column) } th scope="col" { "share" } th scope="col" .number { "records" } }
                }
                tbody {
                    @for (key, counts) in top {
                        tr {
                            th scope="row" { (name(key)) }
                            td .bar {
                                @for (rank, number) in counts.iter().enumerate().filter(|it| *it.1 > 0) {
                                    i class=(class(rank)) style=(share(*number))
                                        title=(format!("{} {}", count(*number), severity_name(rank))) {}
                                }
                            }
                            td .number { (count(total(counts))) }
                        }
                    }
                    @if total(others) > 0 {
                        tr { th scope="row" { "all others" } td {} td .number { (count(total(others))) } }
                    }
                }
            }
        }
    }
}

/// What the colours mean.
fn legend(counts: Counts) -> Markup {
    html! {
        ul .legend {
            @for (rank, ((severity, _), number)) in SEVERITIES.iter().zip(counts).enumerate() {
                @if number > 0 { li class=(class(rank)) { (severity) } }
            }
        }
    }
}

/// Bars of several kinds upon each other, the first at the bottom.
fn bars(id: &str, counts: &[Counts], title: &str, description: &str, most: u64) -> Markup {
    let width = counts.len() as f64 * BAR;
    let scale = HEIGHT / most.max(1) as f64;
    html! {
        svg role="img" aria-labelledby={ (id) "-title " (id) "-desc" } viewBox={ "0 0 " (width) " " (HEIGHT) }
            preserveAspectRatio="none" {
            title id={ (id) "-title" } { (title) }
            desc id={ (id) "-desc" } { (description) }
            @for (index, step) in counts.iter().enumerate() {
                @for (rank, part) in parts(*step, scale) {
                    rect class=(class(rank)) x=(index as f64 * BAR + GAP / 2.0) y=(round(part.0))
                        width=(BAR - GAP) height=(round(part.1)) {}
                }
            }
        }
    }
}

/// Where each kind of one step begins, and how high it is.
fn parts(counts: Counts, scale: f64) -> impl Iterator<Item = (usize, (f64, f64))> {
    let mut top = HEIGHT;
    counts
        .into_iter()
        .enumerate()
        .filter_map(move |(rank, number)| {
            let height = number as f64 * scale;
            top -= height;
            (number > 0).then_some((rank, (top, height)))
        })
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn left(place: f64) -> String {
    format!("left:{:.2}%", place * 100.0)
}
