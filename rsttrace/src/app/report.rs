//! `rsttrace report`: reads a trace and writes its page.

mod out;
mod source;

use jiff::Timestamp;

use crate::cli::{Failure, ReportOptions};
use crate::report::{About, Gathering, page};
use crate::words::things;
use out::Out;
use source::Source;

/// The name of standard input, and of standard output.
const STANDARD: &str = "-";

pub fn report(options: &ReportOptions) -> Result<(), Failure> {
    let mut source = Source::open(options)?;
    let out = Out::new(&options.out, options.force, source.metadata.as_ref())?;
    let mut gathering = Gathering::default();
    source.read(|output| {
        if options.when.has(output.time()) {
            gathering.add(output);
        }
    })?;
    if let Some(missing) = source::missing(&source.unread) {
        eprintln!("rsttrace: {}: {missing}", source.name);
    }
    let about = About {
        source: source.name,
        generated: Timestamp::now(),
        lost: source.lost,
        unread: source.unread,
    };
    let (resets, records) = (gathering.resets(), gathering.records());
    out.write(&page(gathering, &about))?;
    if !matches!(out, Out::Standard) {
        let in_records = if resets < records {
            format!(" ({})", things(records, "record"))
        } else {
            String::new()
        };
        let resets = things(resets, "reset");
        eprintln!(
            "rsttrace: {resets}{in_records} in {}",
            options.out.display()
        );
    }
    Ok(())
}
