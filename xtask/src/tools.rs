//! tools
use anyhow::Result;
#[allow(dead_code)]
pub fn run(_args: &[String]) -> Result<()> {
    Ok(())
}
