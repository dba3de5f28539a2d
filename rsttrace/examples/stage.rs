//! Stages resets without tracing them, and prints what happened: `stage [NAME…]`.

use std::time::Instant;

use clap::{Parser, Subcommand};
use rsttrace::demo::{ActorArgs, Lab, StageError, actor_main, scenarios};

/// Stages resets in private network namespaces
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// Scenarios to stage; all if none is named
    names: Vec<String>,
    /// Print the truths as JSON
    #[arg(long)]
    json: bool,
    /// Wait this many seconds with the lab standing, before and after
    #[arg(long, default_value_t = 0)]
    hold: u64,
    /// Open all scenarios before the first reset
    #[arg(long)]
    ahead: bool,
}

#[derive(Subcommand)]
enum Hidden {
    #[command(hide = true)]
    DemoActor(ActorArgs),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(Hidden::DemoActor(actor)) = &args.command {
        return actor_main(actor);
    }
    let begun = Instant::now();
    let mut lab = Lab::up()?;
    println!("lab up in {:?}", begun.elapsed());
    for place in [
        rsttrace::demo::Place::Client,
        rsttrace::demo::Place::Router,
        rsttrace::demo::Place::Server,
    ] {
        println!("{place:?}: pid {} {:?}", lab.pid(place), lab.view(place));
    }
    std::thread::sleep(std::time::Duration::from_secs(args.hold));
    let mut failed = 0;
    let mut armed = Vec::new();
    for scenario in scenarios::ALL {
        if !args.names.is_empty() && !args.names.iter().any(|name| name == scenario.name) {
            continue;
        }
        for version in scenario.family.versions() {
            if args.ahead {
                armed.push((scenario, version, scenario.open(&mut lab, *version)));
            } else {
                let begun = Instant::now();
                let staged = scenario
                    .open(&mut lab, *version)
                    .and_then(|armed| armed.provoke(&mut lab));
                failed += print(&args, scenario.name, version, begun, staged)?;
            }
        }
    }
    for (scenario, version, opened) in armed {
        let begun = Instant::now();
        let staged = opened.and_then(|armed| armed.provoke(&mut lab));
        failed += print(&args, scenario.name, version, begun, staged)?;
    }
    std::thread::sleep(std::time::Duration::from_secs(args.hold));
    println!("{failed} failed, {:?}", begun.elapsed());
    anyhow::ensure!(failed == 0, "{failed} failed");
    Ok(())
}

fn print(
    args: &Args,
    name: &str,
    version: &rsttrace::demo::IpVersion,
    begun: Instant,
    staged: Result<rsttrace::demo::Staged, StageError>,
) -> anyhow::Result<u32> {
    let took = begun.elapsed().as_millis();
    match staged {
        Ok(staged) => {
            println!("ok   {name} {version:?} {took} ms, {:?}", staged.form);
            for truth in &staged.truths {
                if args.json {
                    println!("{}", serde_json::to_string(truth)?);
                } else {
                    println!(
                        "       {:?} {:?} {} -> {}: {:?}/{:?} by {:?}, peer saw {:?}",
                        truth.view.place,
                        truth.direction,
                        truth.sender,
                        truth.receiver,
                        truth.origin,
                        truth.cause,
                        truth.who,
                        truth.peer_error,
                    );
                }
            }
            Ok(0)
        }
        Err(error) if error.is_not_staged() => {
            println!("none {name} {version:?}: {error}");
            Ok(0)
        }
        Err(error) => {
            println!("FAIL {name} {version:?} {took} ms: {error}");
            Ok(1)
        }
    }
}
