//! Developer commands: `cargo xtask COMMAND`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod accuracy;
mod bench;
mod bench_captures;
mod bpf_toolchain;
mod build_ebpf;
mod check_ebpf;
mod command;
mod dist;
mod fuzz;
mod lint;
mod load;
mod packages;
mod record;
mod rustc_wrapper;
mod soak;
mod tally;
mod test;
mod vm;
mod workspace;

/// Builds the eBPF object, lints, tests and measures the workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Accuracy(accuracy::Args),
    Bench(bench::Args),
    BenchCaptures(bench_captures::Args),
    BuildEbpf(build_ebpf::Args),
    CheckEbpf(check_ebpf::Args),
    Dist(dist::Args),
    Fuzz(fuzz::Args),
    Lint(lint::Args),
    #[command(hide = true)]
    Load(load::Args),
    Record(record::Args),
    Soak(soak::Args),
    Test(test::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = if rustc_wrapper::is_wanted() {
        rustc_wrapper::run()
    } else {
        perform(&Cli::parse().task)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let guest = error.downcast_ref::<vm::Exited>();
            guest.map_or(ExitCode::FAILURE, |guest| guest.code.into())
        }
    }
}

fn perform(task: &Task) -> anyhow::Result<()> {
    match task {
        Task::Accuracy(args) => accuracy::run(args),
        Task::Bench(args) => bench::run(args),
        Task::BenchCaptures(args) => bench_captures::run(args),
        Task::BuildEbpf(args) => build_ebpf::run(args),
        Task::CheckEbpf(args) => check_ebpf::run(args),
        Task::Dist(args) => dist::run(args),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Lint(args) => lint::run(args),
        Task::Load(args) => load::run(args),
        Task::Record(args) => record::run(args),
        Task::Soak(args) => soak::run(args),
        Task::Test(args) => test::run(args),
        Task::Vm(args) => vm::run(args),
    }
}
