//! Pulling: blobs and manifests, warm, beside nginx with the same bytes as static files.

use super::client::{self, Blob};
use super::context::{Context, Field};
use super::load::{Plan, Stop};
use super::pairs::{self, Contestant, Goal, Measure};
use super::payload::{self, Part};
use super::report::Section;
use super::server::Kind;
use anyhow::Result;

const REPOSITORY: &str = "bench/image";
const MIB: usize = 1024 * 1024;

/// GET of blobs of 1 MiB and 64 MiB.
pub fn blobs(context: &Context) -> Result<Section> {
    let mut section = Section::new("blob-get", "Blob GET, warm, keep-alive");
    let field = context.field(&[Kind::Nginx, Kind::DockerRegistry, Kind::Distribution])?;
    let goals = [Goal::AtLeast(0.9), Goal::None, Goal::None];
    for (size, connections) in [(MIB, 4), (64 * MIB, 2)] {
        let blob_bytes = payload::random_bytes(size, size as u64);
        let digest = payload::digest_of(&blob_bytes);
        for server in &field.servers {
            server.store_blob(REPOSITORY, &Blob { digest: digest.clone(), parts: vec![&blob_bytes] })?;
        }
        let request = client::request("GET", &client::blob_path(REPOSITORY, &digest), "");
        let name = format!("GET blob {} MiB, {connections} connections", size / MIB);
        Case { name, connections, request: &request, size }.measure(context, &field, &goals, &mut section)?;
    }
    field.finish()?;
    Ok(section)
}

/// GET by tag and by digest and HEAD of a manifest.
pub fn manifests(context: &Context) -> Result<Section> {
    let mut section = Section::new("manifest-get", "Manifest GET and HEAD, warm, keep-alive");
    let field = context.field(&[Kind::Nginx, Kind::Distribution])?;
    let manifest = store_image(&field)?;
    let digest = payload::digest_of(&manifest);
    let goals = [Goal::AtLeast(0.5), Goal::AtLeast(5.0)];
    for (method, reference, name) in
        [("GET", "latest", "tag"), ("GET", digest.as_str(), "digest"), ("HEAD", "latest", "tag")]
    {
        let request = client::manifest_request(method, REPOSITORY, reference);
        let name = format!("{method} manifest by {name}, 8 connections");
        let size = if method == "HEAD" { 0 } else { manifest.len() };
        let case = Case { name, connections: 8, request: &request, size };
        case.measure(context, &field, &goals, &mut section)?;
    }
    section.note(format!("The manifest has {} bytes.", manifest.len()));
    field.finish()?;
    Ok(section)
}

/// The harness beside itself: the interval for one process measured twice has to hold 1. A second process of
/// the same program shows what chance in its start alone is worth, which no number of pairs takes away.
pub fn self_check(context: &Context) -> Result<Section> {
    let mut section = Section::new("self-check", "The subject beside itself");
    let field = context.field(&[context.options.subject])?;
    let manifest = store_image(&field)?;
    let request = client::manifest_request("GET", REPOSITORY, "latest");
    let name = "GET manifest by tag, 8 connections".to_owned();
    let case = Case { name, connections: 8, request: &request, size: manifest.len() };
    let mut contestants = case.contestants(context, &field);
    contestants.extend(case.contestants(context, &field).into_iter().take(1));
    contestants[1].name = "another process".into();
    contestants[2].name = "the same process".into();
    let series = pairs::run(context.options.pairs, contestants)?;
    let goals = [Goal::None, Goal::None];
    section.compare(pairs::compare(&case.name, &series, &goals, Measure::Cpu));
    field.finish()?;
    Ok(section)
}

/// Stores one image of six small layers everywhere and returns its manifest.
fn store_image(field: &Field) -> Result<Vec<u8>> {
    let contents: Vec<Vec<u8>> = (0..7).map(|seed| payload::random_bytes(4096, 100 + seed)).collect();
    let blob = |bytes: &'_ [u8]| payload::digest_of(bytes);
    let mut parts: Vec<Part> =
        contents.iter().map(|bytes| Part { digest: blob(bytes), size: bytes.len() }).collect();
    let layers = parts.split_off(1);
    let manifest = payload::manifest(&parts[0], &layers);
    for server in &field.servers {
        for bytes in &contents {
            server.store_blob(REPOSITORY, &Blob { digest: blob(bytes), parts: vec![bytes] })?;
        }
        for reference in ["latest", &payload::digest_of(&manifest)] {
            server.store_manifest(REPOSITORY, reference, &manifest)?;
        }
    }
    Ok(manifest)
}

/// One request, again and again.
struct Case<'a> {
    name: String,
    connections: usize,
    request: &'a [u8],
    /// Bytes that the answer's body must have.
    size: usize,
}

impl Case<'_> {
    fn contestants<'a>(&'a self, context: &'a Context, field: &'a Field) -> Vec<Contestant<'a>> {
        let stop = Stop::After(context.sample_time());
        let plan = move |_| Plan { connections: self.connections, stop, first: 0 };
        field.contestants(plan, |_, connection, _| {
            let length = connection.exchange(self.request, &[], 200)?;
            anyhow::ensure!(length == self.size as u64, "a body of {length} bytes instead of {}", self.size);
            Ok(length)
        })
    }

    fn measure(&self, context: &Context, field: &Field, goals: &[Goal], section: &mut Section) -> Result<()> {
        let series = pairs::run(context.options.pairs, self.contestants(context, field))?;
        section.compare(pairs::compare(&self.name, &series, goals, Measure::Cpu));
        Ok(())
    }
}
