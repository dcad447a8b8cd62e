//! A disk whose power can be cut: it forgets exactly what a program did not sync.
//!
//! A test that kills a process proves little about a power cut, because the kernel keeps every write of a dead
//! process. This crate keeps two states of a file tree: the one that programs see, and the one that would be
//! there after the power came back. It reads POSIX strictly:
//!
//! - bytes, and the size, of a file last only from an `fsync` or `fdatasync` of that file (or `O_SYNC`) on;
//! - an entry of a folder (made, renamed, linked or removed) lasts only from an `fsync` of that folder on;
//! - a rename between two folders is two changes, each of which lasts on its own.
//!
//! [`Disk`] is that model, and knows nothing of mounting. [`Mount`] shows a `Disk` as a FUSE file system, so that
//! any program can run on it; [`Mount::power_off`] cuts the power and gives the disk as it would be found. A real
//! disk may have written some of what was not synced: [`Unsynced::Some`] keeps a random part of it, torn at
//! [`PAGE`] borders. A full disk and a failing `fsync` can be had too.
//!
//! Modes, owners and times are not part of the model: they survive as they were seen last.

mod content;
mod dice;
mod disk;
mod error;
mod folder;
mod fuse;
mod mount;
mod node;

pub use content::PAGE;
pub use dice::Dice;
pub use disk::Disk;
pub use error::{Error, Result};
pub use mount::Mount;
pub use node::{Attr, Ino, Kind, NewNode, ROOT, Usage};

/// What becomes of the changes that were not synced when the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of them are lost.
    Lost,
    /// Each of them is kept or lost by chance, with odds that the seed also picks.
    Some {
        /// Where the dice start: equal seeds and equal histories give equal disks.
        seed: u64,
    },
}

/// Decides, one unsynced change after another, whether it reached the disk in time.
struct Fate {
    dice: Dice,
    /// Of a thousand changes, how many are kept.
    odds: u64,
}

impl Fate {
    fn new(unsynced: Unsynced) -> Self {
        let Unsynced::Some { seed } = unsynced else {
            return Self { dice: Dice::new(0), odds: 0 };
        };
        let mut dice = Dice::new(seed);
        // Few survivors and few losses are the likeliest to show a missing sync, so the odds vary from cut to cut.
        let odds = dice.below(1001);
        Self { dice, odds }
    }

    fn keeps(&mut self) -> bool {
        self.odds > 0 && self.dice.below(1000) < self.odds
    }
}
