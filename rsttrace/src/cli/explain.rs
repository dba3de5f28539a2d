//! `rsttrace explain`: pages about common situations.

use std::io::Write as _;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::Failure;
use crate::verdict::advice::Situation;

/// Arguments of `rsttrace explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Page, as named at the end of a line; without it, all pages are listed
    #[arg(value_name = "ID", value_parser = PossibleValuesParser::new(Situation::ALL.iter().map(|it| it.id())), hide_possible_values = true)]
    situation: Option<String>,
}

impl ExplainArgs {
    /// The situation whose page is printed; without one, all are listed.
    pub fn situation(&self) -> Option<Situation> {
        Situation::named(self.situation.as_deref()?)
    }
}

/// Prints a page, or the list of pages, to standard output.
pub fn print(situation: Option<Situation>) -> Result<(), Failure> {
    let text = situation.map_or_else(list, |situation| without_links(page(situation)));
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// A page with the text of its links only: a terminal follows none. Other pages are named by the command that prints them.
fn without_links(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, (label, target, after))) = rest
        .split_once('[')
        .and_then(|(before, link)| Some((before, link_at(link)?)))
    {
        text.push_str(before);
        text.push_str(label);
        let other = target.strip_suffix(".md").and_then(Situation::named);
        if let Some(other) = other {
            text.push_str(&format!(" (rsttrace explain {})", other.id()));
        }
        rest = after;
    }
    text + rest
}

/// Label and target of the link whose bracket has just been opened, and what follows it.
fn link_at(text: &str) -> Option<(&str, &str, &str)> {
    let (label, link) = text.split_once("](")?;
    let (target, after) = link.split_once(')')?;
    (!label.contains(['[', '\n'])).then_some((label, target, after))
}

/// Id and title of every page.
fn list() -> String {
    let widest = Situation::ALL.iter().map(|it| it.id().len()).max();
    let width = widest.unwrap_or_default();
    Situation::ALL
        .iter()
        .map(|it| format!("{:width$}  {}\n", it.id(), it.title()))
        .collect()
}

macro_rules! pages {
    ($($situation:ident $file:literal,)*) => {
        /// The page on a situation, in Markdown.
        pub fn page(situation: Situation) -> &'static str {
            match situation {
                $(Situation::$situation => {
                    include_str!(concat!("../../../docs/situations/", $file, ".md"))
                })*
            }
        }
    };
}

pages! {
    KeepAliveRace "keep-alive-race",
    IdleTimeout "idle-timeout",
    Nlb350 "nlb-350s",
    ConntrackMoved "conntrack-moved",
    NatBypassed "nat-bypassed",
    HealthChecks "health-checks",
    UnreadData "unread-data",
    TurnedAway "turned-away",
    AcceptQueue "accept-queue",
    ConnectTimeout "connect-timeout",
    Unreachable "unreachable",
    NoLocalPort "no-local-port",
    PeerSilent "peer-silent",
    PortScan "port-scan",
    Refused "refused",
    Restart "restart",
    NotFromPeer "not-from-peer",
    MtuBlackHole "mtu-black-hole",
    ResetByPeer "reset-by-peer",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_the_same_parts_and_says_what_its_list_entry_says() {
        const PARTS: [&str; 5] = [
            "# ",
            "## What you see",
            "## How rsttrace recognizes it",
            "## What to change first",
            "## How to verify",
        ];
        for &situation in Situation::ALL {
            let page = page(situation);
            let headings: Vec<&str> = page.lines().filter(|line| line.starts_with('#')).collect();
            assert_eq!(headings.len(), PARTS.len(), "{}", situation.id());
            for (heading, part) in headings.iter().zip(PARTS) {
                assert!(heading.starts_with(part), "{}: {heading}", situation.id());
            }
            let says = format!("\n\n{}.\n", situation.title());
            assert!(page.contains(&says), "{}: {says}", situation.id());
        }
    }

    #[test]
    fn every_page_is_the_one_of_its_id() {
        for &situation in Situation::ALL {
            let path = format!(
                "{}/../docs/situations/{}.md",
                env!("CARGO_MANIFEST_DIR"),
                situation.id()
            );
            let file = std::fs::read_to_string(path).unwrap_or_default();
            assert_eq!(page(situation), file, "{}", situation.id());
        }
    }

    #[test]
    fn a_terminal_gets_commands_instead_of_links() {
        let page = "See [Restart](restart.md) or\n[Causes](../CAUSES.md#idle-timeouts), now.\n";
        let text = "See Restart (rsttrace explain restart) or\nCauses, now.\n";
        assert_eq!(without_links(page), text);
        for &situation in Situation::ALL {
            let text = without_links(super::page(situation));
            assert!(!text.contains("]("), "{}", situation.id());
        }
        assert_eq!(without_links("an array[0]"), "an array[0]");
    }

    #[test]
    fn the_list_has_one_line_for_each() {
        let list = list();
        assert_eq!(list.lines().count(), Situation::ALL.len());
        assert!(
            list.starts_with("keep-alive-race  A request met a server"),
            "{list}"
        );
    }
}
