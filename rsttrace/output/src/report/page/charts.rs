//! The plots: resets over time, idle times, and the most frequent names.
//!
//! Bars are SVG, stretched to the page; text is HTML around them, so that it keeps its size on a phone.

use std::hash::Hash;

use jiff::Timestamp;
use maud::{Markup, html};

use super::{SEVERITIES, class, severity_name, shown};
use crate::report::aggregate::Gathering;
use crate::report::tally::{Counts, Tally, total};
use crate::report::timeline::{Timeline, widths};
use crate::stats::quiet::{Histogram, Source, Timeout, name, rounded};
use crate::words::{self, count, things};

/// Units of one bar and of a plot's height.
const BAR: f64 = 10.0;
const GAP: f64 = 1.0;
const HEIGHT: f64 = 100.0;
/// Words below a plot.
const TICKS: i64 = 6;
/// Fewer steps are described in words.
const LEAST_STEPS: usize = 3;
/// Timeouts that are marked.
const MARKS: usize = 12;
/// Part of the width that a mark's letter takes.
const LETTER: f64 = 0.03;
const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// Part of the width that words below the scale of silences take.
const WORDS: f64 = 0.11;

pub(super) fn timeline(gathering: &Gathering) -> Markup {
    let Some(line) = gathering.marks.steps() else {
        return html! {};
    };
    if gathering.resets() == 1 {
        return html! {};
    }
    let step = length_of(line.step as f64 / NANOS as f64);
    let most = line.counts.iter().map(|it| total(*it)).max().unwrap_or(0);
    html! {
        section #timeline {
            h2 { "Timeline" }
            @if line.counts.len() < LEAST_STEPS {
                p { "All within " (step) "." }
            } @else {
                figure .plot {
                    (legend(gathering.resets))
                    @if gathering.suppressed > 0 {
                        ul .legend { li .hatched { "below the bars: suppressed resets" } }
                    }
                    p .scale { "up to " (things(most, "reset")) " in " (step) }
                    (bars("timeline", &line.counts, &format!("Resets per {step}"),
                        &describe(&line), most))
                    (floods(gathering, &line))
                    div .axis aria-hidden="true" {
                        @for (place, text) in ticks(&line) {
                            span style=(left(place)) { (text) }
                        }
                    }
                    figcaption { "Resets per " (step) ", by severity; times are UTC." }
                }
            }
        }
    }
}

/// The text alternative: the highest step, and the sums.
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
        "{} steps; maximum {}, in the step from {at}",
        line.counts.len(),
        count(total(*counts))
    )
}

fn floods(gathering: &Gathering, line: &Timeline<3>) -> Markup {
    let span = line.step as f64 * line.counts.len() as f64;
    let place = |nanos: i64| (nanos.saturating_sub(line.start) as f64 / span).clamp(0.0, 1.0);
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (from, to) in gathering.floods.iter() {
        let (from, to) = (place(from), place(to));
        match joined.last_mut() {
            Some(last) if from <= last.1 + 0.005 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    html! {
        @if !joined.is_empty() {
            div .floods title="suppressed resets" aria-hidden="true" {
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
    let to_stroke = (each - line.start.rem_euclid(each)) % each;
    let first = line.start.saturating_add(to_stroke);
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

pub(super) fn quiet(gathering: &Gathering) -> Markup {
    let histogram = gathering.silences.histogram();
    let Some(most) = histogram.buckets.iter().map(|it| it.count).max() else {
        return html! {};
    };
    let counts: Vec<Counts> = histogram
        .buckets
        .iter()
        .map(|it| [it.idle, it.count - it.idle, 0])
        .collect();
    let marks = marks(&histogram);
    let total = histogram.total();
    let rows = marks.iter().map(|it| it.row).fold(0.0, f64::max);
    html! {
        section #silences {
            h2 { "Idle time before resets" }
            figure .plot.quiet {
                ul .legend {
                    li .q0 { "idle timeout" }
                    li .q1 { "other causes" }
                    @if !marks.is_empty() { li .mark { "matching timeout" } }
                }
                p .scale { "up to " (count(most)) " per bin" }
                @if !marks.is_empty() {
                    div .letters aria-hidden="true" style=(format!("height:{:.1}em", rows * 1.2 + 1.4)) {
                        @for mark in &marks {
                            span style=(format!("left:{:.2}%;bottom:{}em", mark.place * 100.0, mark.row * 1.2)) { (mark.letter) }
                        }
                    }
                }
                div .over {
                    (bars("quiet", &counts, "Idle times before resets, logarithmic scale",
                        &describe_silences(&histogram), most))
                    @for mark in &marks { i style=(left(mark.place)) {} }
                }
                div .axis aria-hidden="true" {
                    @for (place, text) in lengths(&histogram) {
                        span style=(left(place)) { (text) }
                    }
                }
                figcaption {
                    "Idle time of the connection before the segment that triggered the reset: "
                    (things(total, "reset")) " with a known idle time. Bins are named after common timeout settings and start 3 % below them."
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

fn marks(histogram: &Histogram) -> Vec<Mark> {
    let mut named: Vec<_> = histogram
        .timeouts
        .iter()
        .filter_map(|timeout| Some((histogram.place(timeout.seconds)?, timeout)))
        .collect();
    named.sort_by(|a, b| b.1.resets.cmp(&a.1.resets).then(a.0.total_cmp(&b.0)));
    named.truncate(MARKS);
    named.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut marks: Vec<Mark> = Vec::new();
    for (letter, (place, timeout)) in ('A'..).zip(named) {
        // Letters too near to the one before stand above it.
        let row = match marks.last() {
            Some(last) if place - last.place < LETTER => (last.row + 1.0) % 3.0,
            _ => 0.0,
        };
        marks.push(Mark {
            letter,
            place,
            row,
            length: name(rounded(timeout.seconds)),
            text: who(timeout),
        });
    }
    marks
}

fn who(timeout: &Timeout) -> String {
    let of = |source| {
        timeout
            .marks
            .iter()
            .filter(move |mark| mark.source == source)
    };
    let mut parts = Vec::new();
    if let Some(samples) = of(Source::Learned).map(|mark| mark.samples).max() {
        parts.push(format!("learned from {}", things(samples, "reset")));
    }
    for (source, said) in [
        (Source::Configured, "configured"),
        (Source::Host, "setting of this host"),
        (Source::Known, "known devices"),
    ] {
        let names: Vec<_> = of(source).map(|mark| shown(&mark.label, 80)).collect();
        if !names.is_empty() {
            parts.push(format!("{said}: {}", names.join(", ")));
        }
    }
    format!(
        "{}; reported for {}",
        parts.join("; "),
        things(timeout.resets, "reset")
    )
}

/// The text alternative.
fn describe_silences(histogram: &Histogram) -> String {
    let highest = histogram.buckets.iter().rev().max_by_key(|it| it.count);
    highest.map_or_else(String::new, |it| {
        format!(
            "{}; maximum {}, in the bin {}",
            things(histogram.total(), "idle time"),
            count(it.count),
            name(it.name)
        )
    })
}

fn lengths(histogram: &Histogram) -> Vec<(f64, String)> {
    let steps = histogram.buckets.len() as f64;
    let mut last = -1.0;
    let mut all = Vec::new();
    for (index, bucket) in histogram.buckets.iter().enumerate() {
        let place = index as f64 / steps;
        if place - last >= WORDS && place < 0.97 {
            last = place;
            all.push((place, name(bucket.name)));
        }
    }
    all
}

/// Causes, processes, peers and origins.
pub(super) fn most(gathering: &Gathering, number: usize) -> Markup {
    if gathering.resets() == 0 {
        return html! {};
    }
    html! {
        section #most {
            h2 { "Most frequent" }
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

fn ranking<K: Clone + Eq + Hash + Ord>(
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
                    tr { th scope="col" { (column) } th scope="col" { "share" } th scope="col" .number { "resets" } }
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
                        tr { th scope="row" { "others" } td {} td .number { (count(total(others))) } }
                    }
                }
            }
        }
    }
}

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
