//! Histogram of idle times for the terminal.

use crate::stats::quiet::{Bucket, Histogram, Source, name, rounded};
use crate::terminal::Palette;
use crate::text::{escape, truncate, width};
use crate::words::count;

/// Columns of the longest bar, at most.
const MOST_BAR: usize = 40;
/// Eighths of a column.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Timeouts named in a line.
const NAMED: usize = 3;

/// A line for each bucket: from which silence on, a bar, how many, and the timeouts that fall into it.
pub fn render(histogram: &Histogram, columns: usize, palette: Palette) -> String {
    let Some(most) = histogram.buckets.iter().map(|bucket| bucket.count).max() else {
        return "no resets with a known idle time\n".to_owned();
    };
    let numbers = count(most).len().max("resets".len());
    let bar = MOST_BAR.min(columns / 3);
    let mut text = format!(
        "{:>7}  {:bar$}  {:>numbers$}  matching timeouts\n",
        "idle", "", "resets"
    );
    for bucket in &histogram.buckets {
        let drawn = draw(bucket.count, most, bar);
        let drawn = format!("{drawn}{}", " ".repeat(bar.saturating_sub(width(&drawn))));
        let number = count(bucket.count);
        let head = format!("{:>7}  {drawn}  {number:>numbers$}", name(bucket.name));
        let room = columns.saturating_sub(width(&head) + 2);
        let marks = marks(bucket);
        let marks = truncate(&marks, room);
        let line = if marks.is_empty() {
            head
        } else if bucket.count > 0 {
            format!("{head}  {marks}")
        } else {
            format!("{head}  {}", palette.dim(&marks))
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Something can be seen of each that is not zero.
fn draw(number: u64, most: u64, columns: usize) -> String {
    if number == 0 || most == 0 {
        return String::new();
    }
    let eighths = (number as f64 / most as f64 * columns as f64 * 8.0).round() as usize;
    let eighths = eighths.max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn marks(bucket: &Bucket) -> String {
    let mut named: Vec<String> = bucket
        .marks
        .iter()
        .take(NAMED)
        .map(|mark| {
            let label = escape(&mark.label);
            let time = name(rounded(mark.timeout));
            match mark.source {
                Source::Learned => format!("◀ {time} {label}"),
                Source::Configured => format!("◀ {time} {label} (configured)"),
                Source::Host => format!("{time} {label} (this host)"),
                Source::Known => format!("{time} {label}"),
            }
        })
        .collect();
    let more = bucket.marks.len().saturating_sub(NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::Word;
    use crate::stats::quiet::Counter;

    fn histogram() -> Histogram {
        let mut counter = Counter::default();
        for _ in 0..1_234 {
            counter.silence(300.1, true);
        }
        counter.silence(45.0, false);
        counter.timeout(299.9, &Word::new_static("learned"), Source::Learned);
        counter.timeout(350.0, &Word::new_static("AWS NLB\u{1b}[2J"), Source::Known);
        counter.histogram()
    }

    #[test]
    fn the_most_fill_the_bar_and_one_is_still_seen() {
        let text = render(&histogram(), 100, Palette::default());
        let bar = "█".repeat(33);
        assert!(
            text.contains(&format!("5 min  {bar}   1,234  ◀ 5 min learned\n")),
            "{text}"
        );
        assert!(text.contains("45 s  ▏"), "{text}");
        assert!(text.contains("350 s AWS NLB"), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_none_moves_a_cursor() {
        for columns in 72..160 {
            let text = render(&histogram(), columns, Palette::default());
            assert!(
                text.lines().all(|line| width(line) <= columns),
                "{columns}: {text}"
            );
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let text = render(&Histogram::default(), 100, Palette::default());
        assert_eq!(text, "no resets with a known idle time\n");
    }
}
