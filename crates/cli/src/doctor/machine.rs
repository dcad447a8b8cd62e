//! This machine: what its container engines are told of registries, and whether the files that they name are there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use client::Host;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::Report;

/// The most bytes of a file that are read.
const FILE_MAX: u64 = 1 << 20;

/// The most files of a folder that are looked at.
const FILES_MAX: usize = 1_000;

/// Looks at the configuration of a machine whose root is this folder. `has_own` says whether the registry's certificate is
/// one that engines must be told of.
pub(super) fn look(root: &Path, host: Option<&Host>, has_own: bool, report: &mut Report) {
    let machine = Machine { root, host };
    machine.docker(report);
    machine.containerd(report);
    machine.containers(report);
    if let Some(host) = host {
        for (engine, folder) in [("docker", "etc/docker"), ("podman", "etc/containers")] {
            machine.certificate(engine, folder, host, has_own, report);
        }
    }
}

struct Machine<'a> {
    root: &'a Path,
    host: Option<&'a Host>,
}

impl Machine<'_> {
    /// A file by its path on the machine.
    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file; nothing where there is none, or where it cannot be read, which is reported.
    fn read(&self, what: &'static str, path: &Path, report: &mut Report) -> Option<String> {
        let outcome = std::fs::metadata(path).and_then(|found| match found.len() {
            ..=FILE_MAX => std::fs::read_to_string(path),
            _ => Err(ErrorKind::FileTooLarge.into()),
        });
        match outcome {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                report.warn(
                    what,
                    format_args!("{}: {error}", path.display()),
                    "Run this as root to have it looked at",
                );
                None
            }
        }
    }

    /// The same as TOML.
    fn table(&self, what: &'static str, path: &Path, report: &mut Report) -> Option<Table> {
        let text = self.read(what, path, report)?;
        match text.parse() {
            Ok(table) => Some(table),
            Err(error) => {
                let error: toml::de::Error = error;
                let advice = "Mend it: nothing in it counts";
                report.fail(
                    what,
                    format_args!("{} is not TOML: {}", path.display(), error.message()),
                    advice,
                );
                None
            }
        }
    }

    /// Says whom an engine asks.
    fn mirrors(&self, what: &'static str, place: &str, hosts: &[String], report: &mut Report) {
        let all = hosts.join(", ");
        match self.host {
            _ if hosts.is_empty() => {}
            Some(host) if !hosts.iter().any(|name| name == host.as_str()) => report.warn(
                what,
                format_args!("{place} asks {all}, and not {host}"),
                format_args!("`wharf client {what} --host {host}` prints what belongs there"),
            ),
            _ => report.ok(what, format_args!("{place} asks {all}")),
        }
    }

    fn docker(&self, report: &mut Report) {
        let path = self.place("etc/docker/daemon.json");
        let Some(text) = self.read("docker", &path, report) else { return };
        let Ok(daemon) = serde_json::from_str::<Json>(&text) else {
            let message = format!("{} is not JSON", path.display());
            return report.fail("docker", message, "Mend it: dockerd does not start with it");
        };
        let urls = daemon["registry-mirrors"].as_array().into_iter().flatten().filter_map(Json::as_str);
        let hosts: Vec<String> = urls.map(|url| authority(url).to_owned()).collect();
        self.mirrors("docker", "for what Docker Hub has, docker", &hosts, report);
    }

    fn containerd(&self, report: &mut Report) {
        let folder = self.place("etc/containerd/certs.d");
        let mut is_used = false;
        for name in names(&folder) {
            let path = folder.join(&name).join("hosts.toml");
            let Some(table) = self.table("containerd", &path, report) else { continue };
            is_used = true;
            let hosts = table.get("host").and_then(Value::as_table);
            let names: Vec<String> =
                hosts.into_iter().flat_map(Table::keys).map(|url| authority(url).to_owned()).collect();
            let place = match name.as_str() {
                "_default" => "for all registries, containerd".to_owned(),
                name => format!("for what {name} has, containerd"),
            };
            self.mirrors("containerd", &place, &names, report);
            let authorities = hosts.into_iter().flat_map(Table::values).filter_map(|host| host.get("ca"));
            for ca in authorities.flat_map(texts) {
                // A path of its own is in the folder of the file.
                let file = if ca.starts_with('/') { self.place(ca) } else { folder.join(&name).join(ca) };
                if !file.exists() {
                    let message = format!("{} names {ca}, which is not there", path.display());
                    report.fail("containerd", message, "Put the registry's certificate there");
                }
            }
        }
        let config = self.place("etc/containerd/config.toml");
        if is_used && !self.read("containerd", &config, report).is_some_and(|text| has_config_path(&text)) {
            report.warn(
                "containerd",
                format_args!(
                    "{} sets no `config_path`: Kubernetes does not read {}",
                    config.display(),
                    folder.display()
                ),
                "The head of what `wharf client containerd` prints has the lines",
            );
        }
    }

    fn containers(&self, report: &mut Report) {
        let folder = self.place("etc/containers/registries.conf.d");
        let in_folder = names(&folder).into_iter().filter(|name| name.ends_with(".conf"));
        let files = in_folder.map(|name| folder.join(name));
        for path in std::iter::once(self.place("etc/containers/registries.conf")).chain(files) {
            let Some(table) = self.table("podman", &path, report) else { continue };
            for registry in table.get("registry").and_then(Value::as_array).into_iter().flatten() {
                let name = |registry: &Value, key: &str| {
                    registry.get(key).and_then(Value::as_str).map(str::to_owned)
                };
                let prefix =
                    name(registry, "prefix").or_else(|| name(registry, "location")).unwrap_or_default();
                let mirrors = registry.get("mirror").and_then(Value::as_array).into_iter().flatten();
                let locations = mirrors.filter_map(|mirror| name(mirror, "location"));
                let hosts: Vec<String> = locations.map(|location| authority(&location).to_owned()).collect();
                self.mirrors("podman", &format!("for what {prefix} has, podman"), &hosts, report);
            }
        }
    }

    /// The certificate that an engine trusts for the registry, where it has one or needs one.
    fn certificate(
        &self,
        engine: &'static str,
        folder: &str,
        host: &Host,
        has_own: bool,
        report: &mut Report,
    ) {
        let path = self.place(folder).join("certs.d").join(host.as_str()).join("ca.crt");
        match self.read(engine, &path, report) {
            Some(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
                report.ok(engine, format_args!("{} is there", path.display()));
            }
            Some(_) => {
                let message = format!("{} holds no certificate in PEM", path.display());
                report.fail(engine, message, format_args!("Put the certificate of {host} there"));
            }
            None if has_own && self.place(folder).exists() => report.warn(
                engine,
                format_args!("{engine} is told of no certificate for {host}"),
                format_args!("Copy it to {}", path.display()),
            ),
            None => {}
        }
    }
}

/// The host and port of an address, with or without a scheme.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// What is in a folder, in order; nothing where there is none.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(FILES_MAX);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A text, or several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// Whether a configuration of containerd, of whatever version, names a folder of hosts.
fn has_config_path(text: &str) -> bool {
    fn is_in(value: &Value) -> bool {
        let Some(table) = value.as_table() else { return false };
        let named = table.get("config_path").and_then(Value::as_str);
        named.is_some_and(|path| !path.is_empty()) || table.values().any(is_in)
    }
    text.parse::<Table>().is_ok_and(|table| is_in(&Value::Table(table)))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], host: Option<&str>, has_own: bool, expect: &[(Level, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let host = host.map(|host| host.parse().unwrap());
        let mut report = Report::default();
        look(folder.path(), host.as_ref(), has_own, &mut report);
        let found: Vec<_> = report.0.iter().map(|one| (one.level, one.message.as_str())).collect();
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for ((level, message), (expected, text)) in found.iter().zip(expect) {
            assert!(level == expected && message.contains(text), "{level:?} {message}: {expected:?} {text}");
        }
    }

    const DAEMON: &str = "etc/docker/daemon.json";
    const HOSTS: &str = "etc/containerd/certs.d/_default/hosts.toml";
    const CONFIG: &str = "etc/containerd/config.toml";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n";

    #[test]
    fn docker_is_looked_at() {
        let host = Some("r.example:5000");
        let mirrors = r#"{"registry-mirrors": ["https://r.example:5000/"]}"#;
        check(&[], host, false, &[]);
        check(&[(DAEMON, "{}")], host, false, &[]);
        check(&[(DAEMON, mirrors)], host, false, &[(Level::Ok, "docker asks r.example:5000")]);
        check(&[(DAEMON, mirrors)], None, false, &[(Level::Ok, "docker asks r.example:5000")]);
        check(&[(DAEMON, mirrors)], Some("r.example"), false, &[(Level::Warn, "and not r.example")]);
        check(&[(DAEMON, "{,}")], host, false, &[(Level::Fail, "is not JSON")]);
        let ca = "etc/docker/certs.d/r.example:5000/ca.crt";
        check(&[(DAEMON, "{}")], host, true, &[(Level::Warn, "told of no certificate")]);
        check(&[(ca, CERTIFICATE)], host, true, &[(Level::Ok, "ca.crt is there")]);
        check(&[(ca, "")], host, false, &[(Level::Fail, "holds no certificate")]);
    }

    #[test]
    fn containerd_is_looked_at() {
        let host = Some("r.example:5000");
        let hosts = "[host.\"https://r.example:5000\"]\nca = \"/etc/containerd/certs.d/_default/ca.crt\"\n";
        let config =
            "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
        let ca = ("etc/containerd/certs.d/_default/ca.crt", CERTIFICATE);
        let asks = (Level::Ok, "for all registries, containerd asks r.example:5000");
        check(&[(HOSTS, hosts), (CONFIG, config), ca], host, false, &[asks]);
        check(&[(HOSTS, hosts), (CONFIG, config)], host, false, &[asks, (Level::Fail, "which is not there")]);
        check(
            &[(HOSTS, hosts), (CONFIG, "version = 2"), ca],
            host,
            false,
            &[asks, (Level::Warn, "no `config_path`")],
        );
        check(&[(HOSTS, "= 1"), (CONFIG, config)], host, false, &[(Level::Fail, "is not TOML")]);
    }

    #[test]
    fn podman_is_looked_at() {
        let registries = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\
                          [[registry.mirror]]\nlocation = \"r.example:5000/hub\"\n";
        let path = "etc/containers/registries.conf.d/50-wharf.conf";
        check(
            &[(path, registries)],
            Some("r.example:5000"),
            false,
            &[(Level::Ok, "for what docker.io has, podman asks r.example:5000")],
        );
        check(&[(path, registries)], Some("other.example"), false, &[(Level::Warn, "and not other.example")]);
    }
}
