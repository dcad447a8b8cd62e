//! Kill -9 in the middle of pushes, deletes and garbage collection: a short run of what `cargo xtask chaos kill`
//! does at length.

use std::path::PathBuf;

use chaos_kit::{Crash, Plan, Program};

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let work = tempfile::tempdir().expect("a temporary folder can be made");
    let plan = Plan {
        program: Program::Wharf(wharf()),
        crash: Crash::Kill,
        rounds: 8,
        seed: 20,
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
