//! Power cuts in the middle of pushes, deletes and garbage collection, on a disk that loses what was not synced: a
//! short run of what `cargo xtask chaos power` does at length.

use std::path::PathBuf;

use chaos_kit::{Crash, Plan, Program};

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let work = tempfile::tempdir().expect("a temporary folder can be made");
    let plan = Plan {
        program: Program::Wharf(wharf()),
        crash: Crash::PowerCut,
        rounds: 8,
        seed: 21,
        workers: 4,
        work: work.path().to_owned(),
    };
    match plan.run(&mut |_| ()) {
        Ok(summary) => assert!(summary.acknowledged > 0, "nothing was done: {summary:?}"),
        Err(broken) => panic!("{broken}"),
    }
}

fn wharf() -> PathBuf {
    std::env::var_os("WHARF_BIN").map_or_else(|| env!("CARGO_BIN_EXE_wharf").into(), PathBuf::from)
}
