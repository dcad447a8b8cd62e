//! `wharf client`: the files that make others pull through a registry, ready to be put in their places.

mod files;

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::args::machines::{ClientCommand, ClientFlags, Namespace, NamespaceFlags};
use crate::host::Host;
use crate::out::Out;
use crate::reach;
use crate::text::clean;
use files::{File, Mirror};

/// The most bytes of a certificate's file.
const CERTIFICATE_MAX: u64 = 1 << 20;

pub(crate) async fn run(command: ClientCommand, host: &dyn Host, out: &mut Out) -> Result<()> {
    let (flags, files, then) = match command {
        ClientCommand::Docker(flags) => made(flags, files::docker, "restart docker")?,
        ClientCommand::Containerd(flags) => made(
            flags,
            files::containerd,
            "restart containerd once, if its config.toml had no `config_path` before",
        )?,
        ClientCommand::Podman(flags) => {
            of_namespaces(flags, host, "nothing: podman reads it each time").await?
        }
        ClientCommand::CriO(flags) => of_namespaces(flags, host, "reload crio").await?,
        ClientCommand::K8s(flags) => made(
            flags,
            files::k8s,
            "kubectl apply the ConfigMap; what makes the nodes puts its files into /etc/containerd/certs.d/_default. For images of \
             private projects, `wharf secret k8s` prints the imagePullSecret",
        )?,
        ClientCommand::Jenkins(flags) => made(
            flags,
            files::jenkins,
            "reload the controller's configuration, and restart docker on the agents",
        )?,
    };
    match &flags.write {
        Some(folder) => write(folder, &files, out)?,
        None => print(&files, out)?,
    }
    out.finish()?;
    eprintln!("then: {then}");
    Ok(())
}

type Made = (ClientFlags, Vec<File>, &'static str);

fn made(flags: ClientFlags, files: fn(&Mirror) -> Vec<File>, then: &'static str) -> Result<Made> {
    let files = files(&mirror(&flags)?);
    Ok((flags, files, then))
}

async fn of_namespaces(flags: NamespaceFlags, host: &dyn Host, then: &'static str) -> Result<Made> {
    let mirror = mirror(&flags.client)?;
    let namespaces = match flags.namespaces.is_empty() {
        true => ask(&flags, host).await.context(
            "the upstreams are not known: name them with --namespace, as in --namespace docker.io=dockerhub",
        )?,
        false => flags.namespaces,
    };
    Ok((flags.client, files::containers(&mirror, &namespaces), then))
}

/// The namespaces of a registry's upstreams.
async fn ask(flags: &NamespaceFlags, host: &dyn Host) -> Result<Vec<Namespace>> {
    let upstreams = reach::with(&flags.server(), host, async |mut server| server.upstreams().await).await?;
    let mut namespaces = Vec::new();
    for upstream in &upstreams {
        let key = upstream["key"].as_str().unwrap_or_default();
        for host in upstream["namespaces"].as_array().into_iter().flatten() {
            let host = host.as_str().unwrap_or_default();
            let namespace = Namespace::new(host, key).map_err(|error| anyhow::anyhow!("{}", clean(&error)));
            namespaces.push(namespace.context("the registry names an upstream that cannot be")?);
        }
    }
    if namespaces.is_empty() {
        bail!("the registry has no upstream with a namespace");
    }
    Ok(namespaces)
}

fn mirror(flags: &ClientFlags) -> Result<Mirror> {
    let ca = flags.ca.as_deref().map(read_certificate).transpose()?;
    let is_plain = flags.plain_http || (flags.registry.is_loopback() && ca.is_none());
    Ok(Mirror { host: flags.registry.clone(), is_plain, ca })
}

/// The certificate, to be written as it is.
fn read_certificate(file: &Path) -> Result<String> {
    let wrong = || format!("cannot read {}", file.display());
    if std::fs::metadata(file).with_context(wrong)?.len() > CERTIFICATE_MAX {
        bail!("{} is larger than {CERTIFICATE_MAX} bytes: it is no certificate", file.display());
    }
    let text = std::fs::read_to_string(file).with_context(wrong)?;
    let is_text = text.chars().all(|c| !c.is_control() || matches!(c, '\r' | '\n' | '\t'));
    if !is_text || !text.contains("-----BEGIN CERTIFICATE-----") {
        bail!("{} holds no certificate in PEM", file.display());
    }
    Ok(text)
}

/// Prints the files. Where each of them belongs is told in it, or beside it where its form has no comments.
fn print(files: &[File], out: &mut Out) -> Result<()> {
    for File { path, content, has_comments } in files {
        if !has_comments {
            out.finish()?;
            eprintln!("{path}:");
        }
        out.bytes(content.as_bytes())?;
    }
    Ok(())
}

/// Writes all of them below a folder, or none.
fn write(folder: &Path, files: &[File], out: &mut Out) -> Result<()> {
    let place = |file: &File| folder.join(file.path.trim_start_matches('/'));
    for file in files {
        let path = place(file);
        match std::fs::read(&path) {
            Ok(content) if content == file.content.as_bytes() => {}
            Ok(_) => bail!(
                "{} is there already, and nothing is written: without --write you see what belongs into it",
                path.display()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    for file in files {
        let path = place(file);
        let wrong = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(wrong)?;
        }
        std::fs::write(&path, &file.content).with_context(wrong)?;
        out.line(path.display())?;
    }
    Ok(())
}
