//! Pulling: blobs and manifests, warm, beside nginx with the same bytes as static files.

use super::client::{self, Blob};
use super::context::{Context, Field};
use super::load::{Plan, Stop};
use super::pairs::{self, Goal, Measure};
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
        let case = format!("GET blob {} MiB, {connections} connections", size / MIB);
        measure(context, &field, &case, connections, &request, size, &goals, &mut section)?;
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
        let case = format!("{method} manifest by {name}, 8 connections");
        let size = if method == "HEAD" { 0 } else { manifest.len() };
        measure(context, &field, &case, 8, &request, size, &goals, &mut section)?;
    }
    section.note(format!("The manifest has {} bytes.", manifest.len()));
    field.finish()?;
    Ok(section)
}

/// The harness beside itself: the interval of the ratio has to hold 1.
pub fn self_check(context: &Context) -> Result<Section> {
    let mut section =
        Section::new("self-check", "The subject beside itself: every interval should hold 1.00");
    let field = context.field(&[context.options.subject])?;
    let manifest = store_image(&field)?;
    let request = client::manifest_request("GET", REPOSITORY, "latest");
    let case = "GET manifest by tag, 8 connections";
    measure(context, &field, case, 8, &request, manifest.len(), &[Goal::None], &mut section)?;
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

#[expect(clippy::too_many_arguments, reason = "each is one column of the measurement's plan")]
fn measure(
    context: &Context,
    field: &Field,
    case: &str,
    connections: usize,
    request: &[u8],
    size: usize,
    goals: &[Goal],
    section: &mut Section,
) -> Result<()> {
    let plan = |_| Plan { connections, stop: Stop::After(context.sample_time()), first: 0 };
    let contestants = field.contestants(plan, |_, connection, _| {
        let length = connection.exchange(request, &[], 200)?;
        anyhow::ensure!(length == size as u64, "a body of {length} bytes instead of {size}");
        Ok(length)
    });
    let series = pairs::run(context.options.pairs, contestants)?;
    section.compare(pairs::compare(case, &series, goals, Measure::Cpu));
    Ok(())
}
