//! The binary `wharf`.

use anyhow::{Result, bail};
use futures_util::StreamExt;
use serde_json::json;
use server::{Config, Overrides, Seed};

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).cloned();
    let number = |name: &str| flag(name).and_then(|n| n.parse().ok()).unwrap_or(0);
    let overrides = Overrides {
        data: flag("--data").map(Into::into),
        listen: flag("--listen").iter().map(|a| a.parse()).collect::<Result<_, _>>()?,
        tls_certificate: flag("--tls-cert").map(Into::into),
        tls_key: flag("--tls-key").map(Into::into),
        ..Overrides::default()
    };
    let environment = |name: &str| std::env::var(name).ok();
    let file = flag("--config").map(std::path::PathBuf::from);
    let config = Config::load(file.as_deref(), &environment, overrides)?;
    let (path, body) = match args.first().map(String::as_str) {
        Some("serve") => return server::serve(config).await,
        Some("seed") => {
            let seed = Seed {
                manifests: number("--manifests"),
                repositories: number("--repositories"),
                tags_in_one: number("--tags-in-one"),
            };
            println!("{}", server::seed(config, seed).await?);
            return Ok(());
        }
        Some("gc") => {
            let grace: Option<u64> = flag("--grace").and_then(|g| g.trim_end_matches('s').parse().ok());
            ("/api/v1/gc", json!({"grace_seconds": grace, "dry_run": args.iter().any(|a| a == "--dry-run")}))
        }
        Some("check") => ("/api/v1/check", json!({"read": args.iter().any(|a| a == "--read")})),
        _ => bail!("usage: wharf serve | gc | check"),
    };
    let mut lines = server::admin(config, path, &body).await?;
    while let Some(line) = lines.next().await {
        println!("{}", line?);
    }
    Ok(())
}
