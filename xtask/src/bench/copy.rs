//! Copying an image from one registry to another: `wharf copy` beside skopeo and crane, by the clock.
//!
//! Every copy goes to a fresh, empty registry on a new port, so that no client finds anything there and no
//! client's cache knows the place.

use super::client::{self, Blob};
use super::context::{Context, remove};
use super::load::Sample;
use super::pairs::{self, Contestant, Goal, Measure};
use super::payload::{self, Part};
use super::report::Section;
use super::server::{Kind, Server};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

const REPOSITORY: &str = "bench/copied";
const MIB: usize = 1024 * 1024;

/// A program that copies images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copier {
    Wharf,
    Skopeo,
    Crane,
}

/// Runs the benchmark.
pub fn run(context: &Context) -> Result<Section> {
    let mut section = Section::new("copy", "Copy of an image of 20 layers of 5 MiB between two registries");
    let source = context.start(context.options.subject, "source")?;
    let digest = store_image(context, &source, context.scaled(20, 3))?;
    let mut copiers = vec![Copier::Wharf, Copier::Skopeo, Copier::Crane];
    if context.options.subject != Kind::Wharf {
        // The rivals beside each other show that the harness works where there is no wharf.
        copiers.remove(0);
    }
    let contestant = |copier: &Copier| {
        let (copier, source, digest) = (*copier, &source, digest.as_str());
        Contestant {
            name: copier.name().to_owned(),
            measure: Box::new(move |_| copy_once(context, copier, source, digest)),
        }
    };
    let series = pairs::run(context.options.pairs, copiers.iter().map(contestant).collect())?;
    let goals = [Goal::AtLeast(1.0), Goal::AtLeast(1.0)];
    section.compare(pairs::compare("copy of the image", &series, &goals, Measure::Clock));
    section.note("The CPU here is that of the copying program, not of the registries.");
    source.stop()?;
    remove(&context.folder("source"))?;
    Ok(section)
}

/// Stores the image; its layers are real gzip streams, or skopeo would compress them on the way.
fn store_image(context: &Context, server: &Server, layers: u64) -> Result<String> {
    let mut parts = Vec::new();
    for seed in 0..=layers {
        let bytes = match seed {
            0 => {
                br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec()
            }
            _ => gzipped(context, &payload::random_bytes(5 * MIB, seed))?,
        };
        let digest = payload::digest_of(&bytes);
        server.store_blob(REPOSITORY, &Blob { digest: digest.clone(), parts: vec![&bytes] })?;
        parts.push(Part { digest, size: bytes.len() });
    }
    let layers = parts.split_off(1);
    let manifest = payload::manifest(&parts[0], &layers);
    server.store_manifest(REPOSITORY, "latest", &manifest)?;
    Ok(payload::digest_of(&manifest))
}

fn gzipped(context: &Context, bytes: &[u8]) -> Result<Vec<u8>> {
    let file = context.output.join("layer");
    fs::write(&file, bytes)?;
    let output = Command::new("gzip").arg("-1nc").arg(&file).output().context("cannot run gzip")?;
    ensure!(output.status.success(), "gzip failed: {}", output.status);
    fs::remove_file(&file)?;
    Ok(output.stdout)
}

fn copy_once(context: &Context, copier: Copier, source: &Server, digest: &str) -> Result<Sample> {
    let target = context.start(context.options.subject, "target")?;
    let mut command = copier.command(context, &image(source), &image(&target));
    let log = context.output.join("copy.log");
    let output = fs::File::create(&log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let (status, cpu_seconds) = wait(&child)?;
    let seconds = started.elapsed().as_secs_f64();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    ensure!(status.success(), "{command:?} failed: {status}: {}", said());
    let head = client::manifest_request("HEAD", REPOSITORY, "latest");
    let answer = target.connect()?.fetch(&head, &[])?;
    ensure!(answer.status == 200 && answer.digest.as_deref() == Some(digest), "the copy is not the image");
    target.stop()?;
    remove(&context.folder("target"))?;
    Ok(Sample {
        operations: 1,
        bytes: 0,
        seconds,
        cpu_seconds,
        client_cpu_seconds: cpu_seconds,
        p50: seconds,
        p99: seconds,
    })
}

fn image(server: &Server) -> String {
    format!("{}/{REPOSITORY}:latest", server.address)
}

/// Waits for a child and returns the CPU time of it and of all its threads and children.
fn wait(child: &Child) -> Result<(ExitStatus, f64)> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of this plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers lead to live locals; the pid is that of a child not yet waited for.
    let pid = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, &raw mut usage) };
    ensure!(pid == child.id().cast_signed(), "wait4: {}", std::io::Error::last_os_error());
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok((ExitStatus::from_raw(status), seconds(usage.ru_utime) + seconds(usage.ru_stime)))
}

impl Copier {
    fn name(self) -> &'static str {
        match self {
            Copier::Wharf => "wharf copy",
            Copier::Skopeo => "skopeo copy",
            Copier::Crane => "crane copy",
        }
    }

    fn command(self, context: &Context, from: &str, to: &str) -> Command {
        let docker = |image: &str| format!("docker://{image}");
        match self {
            Copier::Wharf => {
                let mut command = Command::new(&context.programs.wharf);
                command.args(["copy", &docker(from), &docker(to)]);
                command
            }
            Copier::Skopeo => {
                let mut command = Command::new("skopeo");
                command.args([
                    "--insecure-policy",
                    "copy",
                    "--src-tls-verify=false",
                    "--dest-tls-verify=false",
                ]);
                command.args([docker(from), docker(to)]);
                command
            }
            Copier::Crane => {
                let mut command = Command::new(context.programs.tools.join("crane"));
                command.args(["copy", "--insecure", from, to]);
                command
            }
        }
    }
}
