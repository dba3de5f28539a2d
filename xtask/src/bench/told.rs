//! What do tools tell at their end: how much they showed, how much they lost?

use serde::{Deserialize, Serialize};

/// What a tool told at its end, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Resets sent that it explained, or lines that it printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<u64>,
    /// Events that it lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// rsttrace's own account, by kind of event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<Total>,
}

/// A line of rsttrace's summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// "sent", "received", "on the wire".
    pub name: String,
    /// All.
    pub seen: u64,
    /// With every detail.
    pub detailed: u64,
    /// Counted only, on purpose.
    pub suppressed: u64,
    /// For want of room.
    pub lost: u64,
}

/// `kernel, sent: 12,345 = 11,995 detailed + 345 suppressed + 5 lost`
pub fn summary(text: &str) -> Told {
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
    let kernel: Vec<Total> = totals.collect();
    let sent = kernel.iter().find(|total| total.name == "sent");
    Told {
        shown: sent.map(|total| total.detailed),
        lost: (!kernel.is_empty()).then(|| kernel.iter().map(|total| total.lost).sum()),
        kernel,
    }
}

/// The number at the beginning of a line that goes on like this.
fn leading(text: &str, rest: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (number, after) = line.trim().split_once(' ')?;
        after.starts_with(rest).then(|| number.parse().ok())?
    })
}

/// Two of its closing lines.
pub fn tcpdump(text: &str) -> Told {
    Told {
        shown: leading(text, "packets captured").or_else(|| leading(text, "packet captured")),
        lost: leading(text, "packets dropped by kernel")
            .or_else(|| leading(text, "packet dropped by kernel")),
        kernel: Vec::new(),
    }
}

/// Two of its closing lines; it tells of losses only if there are some.
pub fn tshark(text: &str) -> Told {
    Told {
        shown: leading(text, "packets captured").or_else(|| leading(text, "packet captured")),
        lost: leading(text, "packets dropped").or_else(|| leading(text, "packet dropped")),
        kernel: Vec::new(),
    }
}

/// `Lost 12 events`, `Possibly lost 12 samples`, `lost 12 events on CPU #1!`
pub fn losses(text: &str) -> Told {
    let lost = text.lines().filter_map(|line| {
        let line = line.to_lowercase();
        let (_, rest) = line.split_once("lost ")?;
        rest.split(' ').next()?.parse::<u64>().ok()
    });
    Told {
        shown: None,
        lost: Some(lost.sum()),
        kernel: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_read() {
        let told = summary(
            "\n3 resets in 2.0 s\n\nkernel, sent: 12,345 = 11,995 detailed + 345 suppressed + 5 lost\n\
             kernel, on the wire: 7 = 7 detailed + 0 suppressed + 0 lost\nnothing lost\n",
        );
        assert_eq!((told.shown, told.lost), (Some(11_995), Some(5)));
        assert_eq!(told.kernel[0].seen, 12_345);
        assert_eq!(told.kernel[1].name, "on the wire");
        assert_eq!(summary("killed\n"), Told::default());
    }

    #[test]
    fn what_capturing_tools_say_at_their_end_is_read() {
        let told = tcpdump(
            "listening on near\n30000 packets captured\n30100 packets received by filter\n100 packets dropped by kernel\n",
        );
        assert_eq!((told.shown, told.lost), (Some(30_000), Some(100)));
        let told = tshark("Capturing on 'near'\n12 packets captured\n");
        assert_eq!((told.shown, told.lost), (Some(12), None));
    }

    #[test]
    fn lost_events_are_added_up() {
        assert_eq!(
            losses("Lost 12 events\nPossibly lost 3 samples\n").lost,
            Some(15)
        );
        assert_eq!(losses("lost 4 events on CPU #1!\n").lost, Some(4));
        assert_eq!(losses("Attaching 2 probes...\n").lost, Some(0));
    }
}
