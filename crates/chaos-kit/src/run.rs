//! A whole run: rounds of work, crash and comparison on one data folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use power_cut::{Dice, Disk, Mount, Unsynced};

use crate::error::{Error, Result};
use crate::server::{Program, Server};
use crate::site::Site;
use crate::verify::{verify, verify_expiry, verify_upload_files};
use crate::worker::Worker;

/// How long a round works before its crash, in milliseconds.
const WORK: std::ops::Range<u64> = 20..1200;
/// How often, in percent, the server is crashed again while it comes back.
const CRASH_IN_RECOVERY: u64 = 15;
/// After so many rounds an upload has long expired.
const ROUNDS_TO_EXPIRE: u64 = 5;

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The server gets SIGKILL; what it wrote stays.
    Kill,
    /// The disk loses its power; what was not synced is lost, in every second round only a part of it.
    PowerCut,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The registry.
    pub program: Program,
    /// How rounds end.
    pub crash: Crash,
    /// How many rounds.
    pub rounds: u64,
    /// Decides what is done; the timing of threads and disks still varies.
    pub seed: u64,
    /// How many clients work at once.
    pub workers: u64,
    /// An empty folder for data and logs.
    pub work: PathBuf,
}

/// What a run did without finding a fault.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Rounds so far.
    pub rounds: u64,
    /// Crashes so far, those during recovery too.
    pub crashes: u64,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Manifests that are there now.
    pub manifests: usize,
}

impl Plan {
    /// Runs all rounds; `progress` is told after each.
    pub fn run(&self, progress: &mut dyn FnMut(&Summary)) -> Result<Summary> {
        let mut run = Run::new(self)?;
        for round in 1..=self.rounds {
            run.round(round)?;
            progress(&run.summary(round));
        }
        run.finish(self.rounds + 1)?;
        Ok(run.summary(self.rounds))
    }
}

/// Where the data is: a folder of this machine, or a disk whose power can be cut.
struct Storage {
    data: PathBuf,
    mount: Option<Mount>,
}

struct Run<'a> {
    plan: &'a Plan,
    /// Declared, and so dropped, before the storage: a file system in use cannot be unmounted.
    server: Server,
    storage: Storage,
    site: Site,
    dice: Dice,
    crashes: u64,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Result<Self> {
        let data = plan.work.join("data");
        std::fs::create_dir_all(&data).map_err(Error::io(format!("cannot make {}", data.display())))?;
        let mount = match plan.crash {
            Crash::Kill => None,
            Crash::PowerCut => Some(Mount::new(Disk::new(), &data)?),
        };
        let server = Server::new(plan.program.clone(), &plan.work, &data)?;
        let mut site = Site::new(server.address(), plan.seed);
        site.uploads_may_tear = plan.crash == Crash::PowerCut;
        let dice = Dice::new(plan.seed);
        Ok(Self { plan, server, storage: Storage { data, mount }, site, dice, crashes: 0 })
    }

    fn summary(&self, rounds: u64) -> Summary {
        let ledger = &self.site.ledger;
        let (acknowledged, manifests) = (ledger.acknowledged(), ledger.manifests());
        Summary { rounds, crashes: self.crashes, acknowledged, manifests }
    }

    fn round(&mut self, round: u64) -> Result<()> {
        self.come_back(round)?;
        self.site.ledger.start_round(round);
        self.work(round)?;
        self.judge(round)?;
        if self.dice.chance(CRASH_IN_RECOVERY) {
            self.server.start()?;
            std::thread::sleep(Duration::from_millis(self.dice.below(40)));
            self.crash()?;
        }
        Ok(())
    }

    /// Starts the server on what the crash left, and compares.
    fn come_back(&mut self, round: u64) -> Result<()> {
        self.server.start()?;
        if !self.server.wait_until_ready() {
            return Err(Error::NotReady { seed: self.plan.seed, round, log: self.server.log() });
        }
        self.site.resume();
        // A comparison that could not be ended has noted why.
        let compared = verify(&self.site)
            .and_then(|()| verify_expiry(&self.site, round.saturating_sub(ROUNDS_TO_EXPIRE)));
        if compared.is_err() {
            self.site.fault("the server fell silent while it was compared with the ledger");
        }
        if let Err(damage) = self.server.check() {
            self.site.fault(damage);
        }
        self.judge(round)
    }

    /// Lets clients and garbage collection work at once, and crashes in the middle of it.
    fn work(&mut self, round: u64) -> Result<()> {
        let for_millis = WORK.start + self.dice.below(WORK.end - WORK.start);
        let end = Instant::now() + Duration::from_millis(for_millis);
        let seeds: Vec<u64> = (0..self.plan.workers).map(|_| self.dice.roll()).collect();
        let collector_dice = Dice::new(self.dice.roll());
        let Self { site, server, storage, dice, plan, .. } = self;
        std::thread::scope(|scope| {
            for seed in seeds {
                let worker = Worker::new(site, seed);
                scope.spawn(|| worker.run());
            }
            let mut collect = plan.program.clone();
            let (site_of_collector, data) = (&*site, storage.data.clone());
            let collector =
                scope.spawn(move || collect_garbage(&mut collect, &data, site_of_collector, collector_dice));
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            let unsynced = unsynced(round, dice);
            crash(site, server, storage, unsynced, || {
                // The collector must have let go of the disk before that can be unmounted.
                if collector.join().is_err() {
                    site.ledger.fault("the thread that collects garbage panicked".into());
                }
            })
        })?;
        self.crashes += 1;
        Ok(())
    }

    fn crash(&mut self) -> Result<()> {
        let unsynced = unsynced(self.crashes, &mut self.dice);
        self.crashes += 1;
        crash(&self.site, &mut self.server, &mut self.storage, unsynced, || ())
    }

    /// The last comparison, when every upload has had time to expire and nothing goes on any more.
    fn finish(&mut self, round: u64) -> Result<()> {
        self.come_back(round)?;
        if verify_expiry(&self.site, round).is_err() {
            self.site.fault("the server fell silent while uploads were to expire");
        }
        verify_upload_files(&self.site, &self.server);
        for _ in 0..2 {
            if let Err(failure) = self.server.collect("0s") {
                self.site.fault(failure);
            }
        }
        if let Err(damage) = self.server.check() {
            self.site.fault(damage);
        }
        if verify(&self.site).is_err() {
            self.site.fault("the server fell silent after the last collection");
        }
        self.judge(round)
    }

    fn judge(&self, round: u64) -> Result<()> {
        let faults = self.site.ledger.take_faults();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::Broken { seed: self.plan.seed, round, faults, log: self.server.log() })
    }
}

/// The strict cut and the realistic one take turns.
fn unsynced(turn: u64, dice: &mut Dice) -> Unsynced {
    if turn.is_multiple_of(2) { Unsynced::Lost } else { Unsynced::Some { seed: dice.roll() } }
}

fn crash(
    site: &Site,
    server: &mut Server,
    storage: &mut Storage,
    unsynced: Unsynced,
    let_go: impl FnOnce(),
) -> Result<()> {
    if !server.runs() {
        site.fault("the server ended by itself");
    }
    let Some(mount) = storage.mount.take() else {
        // What was answered before the kill was answered by a server that meant it, so only then it may fail.
        site.let_die();
        let killed = server.kill();
        site.end();
        let_go();
        return killed;
    };
    site.end();
    let found = mount.power_off(unsynced);
    server.kill()?;
    let_go();
    mount.unmount()?;
    storage.mount = Some(Mount::new(found, &storage.data)?);
    Ok(())
}

/// Collects garbage every now and then, with grace times that even take what was pushed a moment ago.
fn collect_garbage(program: &mut Program, data: &Path, site: &Site, mut dice: Dice) {
    while !site.ending() {
        std::thread::sleep(Duration::from_millis(20 + dice.below(200)));
        let grace = if dice.chance(50) { "0s" } else { "1s" };
        let Some(mut command) = program.collect(data, grace) else { return };
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                site.suspect(format!("{command:?}: {} {said}", output.status));
            }
            Err(error) => site.fault(format!("{command:?}: {error}")),
        }
    }
}
