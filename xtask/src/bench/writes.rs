//! Pushing: large blobs beside the least that a durable push can cost, small blobs many at once.

use super::client::{self, Connection};
use super::context::Context;
use super::load::{Plan, Stop};
use super::memory::FullPageCache;
use super::pairs::{self, Goal, Measure};
use super::payload::Payload;
use super::report::Section;
use super::server::{Kind, Server};
use anyhow::Result;

const MIB: usize = 1024 * 1024;

/// Durable push of blobs of 64 MiB, one after the other.
pub fn large(context: &Context) -> Result<Section> {
    let mut section = Section::new("push-64m", "Durable push of 64 MiB blobs, POST and PUT, one at a time");
    let push = Push { connections: 1, count: context.scaled(3, 1), size: 64 * MIB };
    let goals = [(Kind::Minimal, Goal::AtLeast(0.85)), (Kind::Distribution, Goal::AtLeast(1.5))];
    measure(context, push, &goals, "push 64 MiB blob, 1 connection", &mut section)?;
    section.note("minimal-receiver gets one PUT without the POST before it.");
    Ok(section)
}

/// Durable push of blobs of 4 KiB, 16 at once.
pub fn small(context: &Context) -> Result<Section> {
    let mut section = Section::new("push-4k", "Durable push of 4 KiB blobs, POST and PUT, 16 at once");
    let push = Push { connections: 16, count: context.scaled(1600, 160), size: 4096 };
    let goals = [(Kind::Distribution, Goal::AtLeast(5.0))];
    measure(context, push, &goals, "push 4 KiB blob, 16 connections", &mut section)?;
    section.note("An operation is a POST and a PUT, into 16 repositories in turn.");
    Ok(section)
}

/// The pushes of one sample.
#[derive(Clone, Copy)]
struct Push {
    connections: usize,
    count: u64,
    size: usize,
}

fn measure(
    context: &Context,
    push: Push,
    rivals: &[(Kind, Goal)],
    case: &str,
    section: &mut Section,
) -> Result<()> {
    let (kinds, goals): (Vec<Kind>, Vec<Goal>) = rivals.iter().copied().unzip();
    let _full =
        context.scaled(true, false).then(|| FullPageCache::new(&context.folder("memory"))).transpose()?;
    let field = context.field(&kinds)?;
    let payload = Payload::new(push.size, push.size as u64);
    let blobs = (context.options.pairs as u64 + 1) * push.count;
    let digests: Vec<String> = (0..blobs).map(|number| payload.digest(number)).collect();
    let plan = |round: usize| Plan {
        connections: push.connections,
        stop: Stop::Count(push.count),
        first: round as u64 * push.count,
    };
    let contestants = field.contestants(plan, |server, connection, number| {
        let tail = Payload::tail(number);
        let digest = digests[usize::try_from(number)?].clone();
        push_one(server, connection, number, &payload.blob(digest, &tail))
    });
    let series = pairs::run(context.options.pairs, contestants)?;
    section.compare(pairs::compare(case, &series, &goals, Measure::Cpu));
    field.finish()
}

fn push_one(server: &Server, connection: &mut Connection, number: u64, blob: &client::Blob) -> Result<u64> {
    let size = blob.size() as u64;
    if server.kind == Kind::Minimal {
        let target = format!("/?digest={}", blob.digest);
        let put = client::request("PUT", &target, &format!("Content-Length: {size}\r\n"));
        connection.exchange(&put, &blob.parts, 201)?;
    } else {
        client::push_blob(connection, &format!("bench/push-{}", number % 16), blob)?;
    }
    Ok(size)
}
