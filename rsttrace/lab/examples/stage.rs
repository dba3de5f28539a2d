//! Stages resets without tracing them, and prints what happened: `stage [NAME…]`.

use std::time::Instant;

use clap::{Parser, Subcommand};
use rsttrace_lab::{
    ActorArgs, IpVersion, Lab, StageError, Staged, Suite, actor_main, scenarios, stage_together,
};

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
    /// Open all scenarios before the first reset, not only those that take long
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
        rsttrace_lab::Place::Client,
        rsttrace_lab::Place::Router,
        rsttrace_lab::Place::Server,
    ] {
        println!("{place:?}: pid {} {:?}", lab.pid(place), lab.view(place));
    }
    std::thread::sleep(std::time::Duration::from_secs(args.hold));
    let mut failed = 0;
    let chosen = scenarios::ALL.iter().filter(|scenario| {
        args.names.is_empty() || args.names.iter().any(|name| name == scenario.name)
    });
    let (short, long): (Vec<_>, Vec<_>) = chosen
        .flat_map(|&scenario| {
            scenario
                .family
                .versions()
                .iter()
                .map(move |&ip| (scenario, ip))
        })
        .partition(|(scenario, _)| scenario.suite != Suite::Long && !args.ahead);
    for (scenario, version) in short {
        let begun = Instant::now();
        let staged = scenario
            .open(&mut lab, version)
            .and_then(|armed| armed.provoke(&mut lab));
        failed += print(&args, scenario.name, version, Some(begun), staged.as_ref())?;
    }
    let staged = stage_together(&mut lab, long, |(scenario, version), lab| {
        scenario.open(lab, *version)
    });
    for ((scenario, version), staged) in &staged {
        failed += print(&args, scenario.name, *version, None, staged.as_ref())?;
    }
    std::thread::sleep(std::time::Duration::from_secs(args.hold));
    println!("{failed} failed, {:?}", begun.elapsed());
    anyhow::ensure!(failed == 0, "{failed} failed");
    Ok(())
}

fn print(
    args: &Args,
    name: &str,
    version: IpVersion,
    begun: Option<Instant>,
    staged: Result<&Staged, &StageError>,
) -> anyhow::Result<u32> {
    let took = begun.map_or_else(String::new, |begun| {
        format!(" {} ms", begun.elapsed().as_millis())
    });
    match staged {
        Ok(staged) => {
            println!("ok   {name} {version:?}{took}, {:?}", staged.form);
            for truth in &staged.truths {
                if args.json {
                    println!("{}", serde_json::to_string(truth)?);
                } else {
                    println!(
                        "       {:?} {:?} {} -> {}: {:?}/{:?} {:?} by {:?}, peer saw {:?}; TTL {} window {} options {} id {:?}",
                        truth.view.place,
                        truth.direction,
                        truth.sender,
                        truth.receiver,
                        truth.origin,
                        truth.cause,
                        truth.idle,
                        truth.who,
                        truth.peer_error,
                        truth.seen.ttl,
                        truth.seen.window,
                        truth.seen.options,
                        truth.seen.ip_id,
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
            println!("FAIL {name} {version:?}{took}: {error}");
            Ok(1)
        }
    }
}
