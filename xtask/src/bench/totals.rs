//! Totals of resets in the summary of rsttrace.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// "sent", "received", "on the wire".
    pub name: String,
    pub seen: u64,
    pub detailed: u64,
    pub suppressed: u64,
    pub lost: u64,
}

/// `kernel, sent: 12,345 = 11,995 detailed + 345 suppressed + 5 lost`
pub fn read(text: &str) -> Vec<Total> {
    let totals = text.lines().filter_map(|line| {
        let (name, numbers) = line.strip_prefix("kernel, ")?.split_once(": ")?;
        let numbers: Vec<u64> = numbers
            .split(' ')
            .filter_map(|word| word.replace(',', "").parse().ok())
            .collect();
        let [seen, detailed, suppressed, lost, ..] = numbers[..] else {
            return None;
        };
        Some(Total {
            name: name.to_owned(),
            seen,
            detailed,
            suppressed,
            lost,
        })
    });
    totals.collect()
}

/// The total of sent resets; zeros if the summary has none.
pub fn sent(totals: &[Total]) -> Total {
    let sent = totals.iter().find(|total| total.name == "sent");
    sent.cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let totals = read(
            "\n3 resets in 2.0 s\n\nkernel, sent: 12,345 = 11,995 detailed + 345 suppressed + 5 lost\n\
             kernel, on the wire: 7 = 7 detailed + 0 suppressed + 0 lost\nnothing lost\n",
        );
        let sent = sent(&totals);
        assert_eq!((sent.seen, sent.detailed, sent.lost), (12_345, 11_995, 5));
        assert_eq!(totals[1].name, "on the wire");
    }
}
