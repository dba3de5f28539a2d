//! Stages resets without tracing them, and prints their truths: `stage [NAME…]`.

use clap::{Parser, Subcommand};
use rsttrace_lab::{
    ActorArgs, Lab, Scenario, StageError, Staged, Suite, actor_main, scenarios, stage_together,
};

/// Stages resets in private network namespaces
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Hidden>,
    /// Scenarios to stage; all if none is named
    names: Vec<String>,
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
    let mut lab = Lab::up()?;
    let chosen = |scenario: &&&Scenario| {
        args.names.is_empty() || args.names.iter().any(|name| name == scenario.name)
    };
    let (long, short): (Vec<_>, Vec<_>) = scenarios::ALL
        .iter()
        .filter(chosen)
        .flat_map(|scenario| {
            scenario
                .family
                .versions()
                .iter()
                .map(move |ip| (scenario, *ip))
        })
        .partition(|(scenario, _)| scenario.suite == Suite::Long);
    let mut failed = 0;
    for (scenario, version) in short {
        let armed = scenario.open(&mut lab, version);
        let staged = armed.and_then(|armed| armed.provoke(&mut lab));
        failed += print(&format!("{} {version:?}", scenario.name), &staged)?;
    }
    let staged = stage_together(&mut lab, long, |(scenario, version), lab| {
        scenario.open(lab, *version)
    });
    for ((scenario, version), staged) in &staged {
        failed += print(&format!("{} {version:?}", scenario.name), staged)?;
    }
    anyhow::ensure!(failed == 0, "{failed} failed");
    Ok(())
}

fn print(name: &str, staged: &Result<Staged, StageError>) -> anyhow::Result<u32> {
    match staged {
        Ok(staged) => {
            println!("ok   {name} {:?}", staged.form);
            for truth in &staged.truths {
                println!("       {}", serde_json::to_string(truth)?);
            }
            Ok(0)
        }
        Err(error) if error.is_not_staged() => {
            println!("none {name}: {error}");
            Ok(0)
        }
        Err(error) => {
            println!("FAIL {name}: {error}");
            Ok(1)
        }
    }
}
