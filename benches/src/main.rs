//! The command line of the report.

use anyhow::{Context as _, Result};
use benches::Args;
use clap::Parser as _;

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if !args.role.is_empty() {
        return runtime.block_on(benches::play(&args.role));
    }
    let out = args.out.clone();
    let report = runtime.block_on(benches::run(args, &mut std::io::stdout()))?;
    let path = report.write(&out).with_context(|| format!("write to {}", out.display()))?;
    benches::report::say(&mut std::io::stdout(), &format!("\nwritten: {}", path.display()))
}
