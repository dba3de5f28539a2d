//! Filter expressions on the command line: words of pcap-filter(7), and those of records.

use std::net::IpAddr;

use crate::filter::{Expression, Primitive, Side, Terms};
use crate::record::Named;
use crate::values;

/// Parentheses and negations within each other.
const DEEPEST: usize = 64;

/// Words of an expression.
const MOST_WORDS: usize = 1_024;

const EXAMPLE: &str =
    "use words like 'host 10.0.0.1 and port 443' or 'not comm nginx'; `rsttrace --help` lists them";

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    Process,
    Unit,
    Container,
    Pod,
    Netns,
    Cause,
    Class,
    Severity,
    Direction,
    Failure,
}

const KINDS: [(&str, Kind); 16] = [
    ("host", Kind::Host),
    ("net", Kind::Net),
    ("port", Kind::Port),
    ("portrange", Kind::Port),
    ("comm", Kind::Process),
    ("process", Kind::Process),
    ("pid", Kind::Process),
    ("unit", Kind::Unit),
    ("container", Kind::Container),
    ("pod", Kind::Pod),
    ("netns", Kind::Netns),
    ("cause", Kind::Cause),
    ("class", Kind::Class),
    ("severity", Kind::Severity),
    ("direction", Kind::Direction),
    ("failure", Kind::Failure),
];

/// Parses a whole expression.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let words = words(text);
    if words.len() > MOST_WORDS {
        return Err(format!(
            "more than {MOST_WORDS} words; use a shorter expression, or values separated by commas"
        ));
    }
    let mut parser = Parser {
        words,
        next: 0,
        depth: 0,
        last: None,
        is_after_or: false,
    };
    let expression = parser.alternatives()?;
    match parser.peek() {
        None => Ok(expression),
        Some(word) => Err(format!(
            "`{word}`: `and` or `or` expected before it; {EXAMPLE}"
        )),
    }
}

/// Words, parentheses and operators.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut part in text.split_whitespace() {
        while !part.is_empty() {
            let operator = ["(", ")", "&&", "||", "!"];
            let length = match operator.iter().find(|it| part.starts_with(**it)) {
                Some(operator) => operator.len(),
                None => part
                    .find(['(', ')', '&', '|'])
                    .filter(|at| *at > 0)
                    .unwrap_or(part.len()),
            };
            let (word, rest) = part.split_at(length);
            words.push(word);
            part = rest;
        }
    }
    words
}

struct Parser<'a> {
    words: Vec<&'a str>,
    next: usize,
    depth: usize,
    /// What a value without a word before it is: that of the value before it.
    last: Option<(Side, &'static str, Kind)>,
    /// `or` was the last operator.
    is_after_or: bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        self.next += usize::from(is_next);
        is_next
    }

    /// Of equal precedence, from left to right, as in pcap-filter(7).
    fn alternatives(&mut self) -> Result<Expression, String> {
        let mut left = self.factor()?;
        loop {
            if self.take("and") || self.take("&&") {
                self.is_after_or = false;
                left = Expression::And(Box::new(left), Box::new(self.factor()?));
            } else if self.take("or") || self.take("||") {
                self.is_after_or = true;
                left = Expression::Or(Box::new(left), Box::new(self.factor()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn factor(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!(
                "more than {DEEPEST} parentheses and negations within each other; use a shorter expression"
            ));
        }
        let factor = if self.take("not") || self.take("!") {
            Expression::Not(Box::new(self.factor()?))
        } else if self.take("(") {
            let inner = self.alternatives()?;
            if !self.take(")") {
                return Err("a `)` is missing; add it".to_owned());
            }
            inner
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(factor)
    }

    fn primitive(&mut self) -> Result<Expression, String> {
        let protocol = ["tcp", "ip", "ip6"].into_iter().find(|it| self.take(it));
        let family = match protocol {
            Some("ip") => Some("0.0.0.0/0"),
            Some("ip6") => Some("::/0"),
            Some(_) | None => None,
        };
        let family = family.and_then(|net| net.parse().ok()).map(|net| {
            is(
                Side::Either,
                Terms {
                    addresses: vec![net],
                    ..Terms::default()
                },
            )
        });
        let ends = matches!(self.peek(), None | Some("and" | "&&" | "or" | "||" | ")"));
        if protocol.is_some() && ends {
            // Everything is TCP.
            return Ok(family.unwrap_or(is(Side::Either, Terms::default())));
        }
        let test = self.test()?;
        Ok(match family {
            Some(family) => Expression::And(Box::new(family), Box::new(test)),
            None => test,
        })
    }

    fn test(&mut self) -> Result<Expression, String> {
        let side = self.side();
        let Some(word) = self.peek() else {
            return Err(format!("something is missing at the end; {EXAMPLE}"));
        };
        let named = KINDS.iter().find(|(name, _)| *name == word);
        let last = self.last.filter(|(.., kind)| self.may_inherit(*kind, word));
        let (side, name, kind) = match (named, last) {
            (Some((name, kind)), _) => {
                self.next += 1;
                (side.unwrap_or_default(), *name, *kind)
            }
            (None, Some(last)) if side.is_none() => last,
            (None, _) if is_address(word) => (side.unwrap_or_default(), "host", Kind::Host),
            (None, _) => {
                return Err(format!(
                    "`{word}` is neither a command nor a word of a filter; {EXAMPLE}"
                ));
            }
        };
        if side != Side::Either && !matches!(kind, Kind::Host | Kind::Net | Kind::Port) {
            return Err(format!(
                "src and dst go with host, net and port, not with `{name}`; remove them"
            ));
        }
        self.last = Some((side, name, kind));
        let Some(value) = self.peek() else {
            return Err(format!("`{name}`: a value is missing after it; {EXAMPLE}"));
        };
        self.next += 1;
        let terms = terms(kind, value).map_err(|why| format!("{name} `{value}`: {why}"))?;
        Ok(is(side, terms))
    }

    /// Whether a bare value is of the kind of the one before it. Any word may be a name, so names are repeated after `or` only.
    fn may_inherit(&self, kind: Kind, word: &str) -> bool {
        match kind {
            Kind::Host | Kind::Net => true,
            Kind::Port => !is_address(word),
            Kind::Process | Kind::Unit | Kind::Container | Kind::Pod | Kind::Netns => {
                self.is_after_or
            }
            Kind::Cause | Kind::Class | Kind::Severity | Kind::Direction | Kind::Failure => true,
        }
    }

    fn side(&mut self) -> Option<Side> {
        let source = self.take("src");
        if !source {
            return self.take("dst").then_some(Side::Destination);
        }
        let both = [
            ("and", Side::Both),
            ("&&", Side::Both),
            ("or", Side::Either),
            ("||", Side::Either),
        ];
        let operator = self
            .peek()
            .and_then(|it| both.iter().find(|(name, _)| *name == it));
        if let Some((_, side)) = operator
            && self.words.get(self.next + 1) == Some(&"dst")
        {
            self.next += 2;
            return Some(*side);
        }
        Some(Side::Source)
    }
}

fn is(side: Side, terms: Terms) -> Expression {
    Expression::Is(Box::new(Primitive { side, terms }))
}

fn is_address(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok() || word.contains('/') && values::network(word).is_ok()
}

/// Values are separated by commas; one of them must match.
fn terms(kind: Kind, text: &str) -> Result<Terms, String> {
    let mut terms = Terms::default();
    for value in text.split(',') {
        match kind {
            Kind::Host | Kind::Net => terms.addresses.push(values::network(value)?),
            Kind::Port => terms.ports.push(values::ports(value)?),
            Kind::Process => terms.processes.push(values::process(value)?),
            Kind::Unit => terms.units.push(values::word(value)?),
            Kind::Container => terms.containers.push(values::word(value)?),
            Kind::Pod => terms.pods.push(values::word(value)?),
            Kind::Netns => terms.netns.push(values::netns(value)?),
            Kind::Cause => terms.causes.push(named(value)?),
            Kind::Class => terms.classes.push(named(value)?),
            Kind::Severity => terms.severities.push(named(value)?),
            Kind::Direction => terms.directions.push(named(value)?),
            Kind::Failure => terms.failures.push(named(value)?),
        }
    }
    Ok(terms)
}

fn named<T: Named>(text: &str) -> Result<T, String> {
    let found = T::ALL.iter().find(|value| value.name() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = T::ALL.iter().map(|value| value.name()).collect();
        format!("use one of {}", names.join(", "))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::record::Record;

    /// nginx[87] on 10.0.9.4:8080 sent it to 10.0.3.9:51544.
    fn record() -> Record {
        let text = include_str!("../../tests/data/records/close_with_unread_data.json");
        serde_json::from_str(text).unwrap()
    }

    fn wants(text: &str) -> bool {
        let filter = Filter {
            expression: Some(parse(text).unwrap()),
            ..Filter::default()
        };
        filter.matches(&record())
    }

    #[test]
    fn words_of_tcpdump_select_resets() {
        for text in [
            "host 10.0.9.4",
            "host 10.0.3.9",
            "10.0.3.9",
            "port 8080",
            "portrange 8000-8999",
            "tcp port 8080",
            "tcp",
            "ip",
            "ip and tcp",
            "src host 10.0.9.4 and dst host 10.0.3.9",
            "src 10.0.9.4 and dst net 10.0.3.0/24",
            "src or dst port 51544",
            "src net 10.0.9.0/24 && dst port 51544",
            "src and dst net 10.0.0.0/16",
            "host 192.0.2.1 or 10.0.3.9",
            "port 80,8080",
            "port 80 or 443 or 8080",
            "not port 443",
            "!(port 443 or host 192.0.2.1)",
            "not not tcp",
            "comm nginx",
            "comm java or nginx",
            "port 8080 and 10.0.0.0/16",
            "pid 87 and cause close_with_unread_data",
            "severity fault and direction sent",
            "not ip6",
            "ip host 10.0.9.4",
            // From left to right.
            "tcp or tcp and port 8080",
        ] {
            assert!(wants(text), "{text}");
        }
        for text in [
            "host 10.0.9.5",
            "src port 51544",
            "dst 10.0.9.4",
            "src and dst host 10.0.9.4",
            "src and dst port 8080",
            "not tcp",
            "ip6",
            "ip6 port 8080",
            "comm nginx and not pid 87",
            "port 443 or host 192.0.2.1",
            "cause linger_zero",
            "failure connect_timeout",
            "tcp or tcp and port 443",
        ] {
            assert!(!wants(text), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_a_next_step() {
        for (text, part) in [
            ("", "missing at the end"),
            ("port", "a value is missing"),
            ("port http", "use a port like 443"),
            ("prot 443", "`prot` is neither"),
            ("port 443 host 10.0.0.1", "`and` or `or` expected"),
            ("(port 443", "`)` is missing"),
            ("port 443)", "expected before it"),
            ("host example.org", "example.org"),
            ("src comm nginx", "src and dst go with"),
            ("cause bad_luck", "use one of"),
            ("not", "missing at the end"),
            ("and", "`and` is neither"),
            ("comm nginx and noise", "`noise` is neither"),
            ("port 80 or x", "port `x`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = "(".repeat(100_000);
        assert!(parse(&deep).is_err());
        let deep = "! ".repeat(900) + "tcp";
        assert!(parse(&deep).unwrap_err().contains("within each other"));
        let long = "tcp or ".repeat(100_000) + "tcp";
        assert!(parse(&long).unwrap_err().contains("more than"));
        let long = "tcp and ".repeat(500) + "tcp";
        assert!(wants(&long));
    }
}
