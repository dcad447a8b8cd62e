//! Which crate may name which: the direction of the house.

use super::Metadata;
use std::collections::BTreeSet;

/// Every crate of the workspace, and the crates of the workspace that it may name. What is not here is refused.
/// Dependencies of tests only are free: a test may join what the program keeps apart.
const MAY_NAME: &[(&str, &[&str])] = &[
    // The ground: no input or output.
    ("oci", &[]),
    ("transfer", &["oci"]),
    // The ports. A metadata record names a blob's object, so `meta` knows the object's name.
    ("blob", &["oci"]),
    ("meta", &["blob", "oci"]),
    // The adapters: their port, and the words that it uses. Only `server` names an adapter.
    ("blob-fs", &["blob", "oci"]),
    ("meta-sql", &["meta", "blob", "oci"]),
    // The core: no HTTP, no SQL, no format, no feature.
    ("access", &["oci"]),
    // A file format of its own, in plain text: it names nothing of the house.
    ("audit", &[]),
    // A rule by itself: what a cache lets go of.
    ("evict", &[]),
    ("jobs", &["meta"]),
    ("registry", &["transfer", "access", "blob", "meta", "oci"]),
    // The features.
    ("identity", &["access", "ldap", "meta", "oci", "oidc"]),
    ("mirror", &["registry", "access", "blob", "meta", "client", "evict", "transfer", "oci"]),
    // Other ends of a transfer.
    ("client", &["transfer", "oci"]),
    ("layout", &["transfer", "oci"]),
    // Where people are known. A directory knows no registry.
    ("ldap", &[]),
    // Who somebody is, as an issuer of tokens says it: no registry, no store.
    ("oidc", &[]),
    // What judges passkeys, behind the port of `identity`.
    ("passkey", &["identity"]),
    // The edges never name one another. A blob's bytes pass from the store to the wire as `blob` gives them.
    ("http-kit", &["access", "oci"]),
    ("http-oci", &["http-kit", "registry", "access", "blob", "transfer", "oci"]),
    (
        "http-admin",
        &["http-kit", "identity", "mirror", "registry", "access", "audit", "meta", "transfer", "oci"],
    ),
    ("console", &["http-kit", "identity", "access", "oci", "oidc"]),
    // The ends. The command line never opens the database.
    (
        "server",
        &[
            "access",
            "audit",
            "blob",
            "blob-fs",
            "client",
            "console",
            "http-admin",
            "http-kit",
            "http-oci",
            "identity",
            "jobs",
            "layout",
            "meta",
            "meta-sql",
            "mirror",
            "oci",
            "oidc",
            "passkey",
            "registry",
            "transfer",
        ],
    ),
    ("cli", &["client", "layout", "transfer", "oci"]),
    ("wharf", &["server", "cli"]),
    // What only tests and chores are made of knows the program from outside.
    ("power-cut", &[]),
    ("test-kit", &[]),
    ("chaos-kit", &["power-cut"]),
    // It measures a decision and an eviction by themselves, which no server shows.
    ("xtask", &["access", "chaos-kit", "evict", "oci", "power-cut", "test-kit"]),
];

/// Outside crates that only some of ours may name, and why.
const KEPT: &[(&str, &[&str], &str)] = &[
    ("axum", &[], "routes are parsed by our own pure functions"),
    (
        "http",
        &["http-kit", "http-oci", "http-admin", "console", "server", "client"],
        "the core knows no protocol",
    ),
    ("hyper", &["http-kit", "server"], "HTTP is served in one place"),
    ("rusqlite", &["meta-sql"], "SQL has one home"),
    (
        "reqwest",
        &["client", "oidc"],
        "remote registries are spoken to in one place, and issuers of tokens in one",
    ),
    ("webauthn-rs", &["passkey"], "passkeys are judged in one place"),
    ("argon2", &["identity"], "passwords are hashed in one place"),
    ("rustls", &["http-kit", "client", "ldap"], "TLS is configured in one place for each direction"),
    (
        "jsonwebtoken",
        &["identity", "oidc"],
        "our own tokens are signed in one place, and those of others judged in one",
    ),
    ("clap", &["cli", "server", "wharf"], "only the ends read a command line"),
    ("toml", &["server", "cli"], "only the ends read configuration"),
    ("anyhow", &["server", "cli", "wharf", "xtask"], "a library's errors are an enum"),
    (
        "libc",
        &["blob-fs", "http-kit", "server", "power-cut", "test-kit", "xtask"],
        "unsafe is kept in few places",
    ),
];

/// Reports every forbidden edge.
pub fn check(metadata: &Metadata, problems: &mut Vec<String>) {
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, may_name)) = MAY_NAME.iter().find(|(crate_name, _)| *crate_name == name) else {
            problems.push(format!("the crate {name} has no line in {}", file!()));
            continue;
        };
        let named = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
        for dependency in named.map(|dependency| dependency.name.as_str()) {
            if ours.contains(dependency) && !may_name.contains(&dependency) {
                problems.push(format!("{name} may not name {dependency}"));
            }
            let kept = KEPT.iter().find(|(outside, by, _)| *outside == dependency && !by.contains(&name));
            if let Some((_, _, reason)) = kept {
                problems.push(format!("{name} may not name {dependency}: {reason}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dependency, Package};
    use super::*;

    #[track_caller]
    fn check_edge(from: &str, to: &str, kind: Option<&str>, expect: usize) {
        let package = |name: &str, dependencies| Package { name: name.to_owned(), dependencies };
        let dependency = Dependency { name: to.to_owned(), kind: kind.map(str::to_owned) };
        let packages =
            vec![package(from, vec![dependency]), package("oci", vec![]), package("meta-sql", vec![])];
        let metadata = Metadata { packages };
        let mut problems = Vec::new();
        check(&metadata, &mut problems);
        assert_eq!(problems.len(), expect, "{problems:?}");
    }

    #[test]
    fn only_the_drawn_edges_are_allowed() {
        check_edge("registry", "oci", None, 0);
        check_edge("registry", "meta-sql", None, 1);
        check_edge("registry", "meta-sql", Some("dev"), 0);
        check_edge("registry", "hyper", None, 1);
        check_edge("server", "meta-sql", None, 0);
        check_edge("unheard-of", "oci", None, 1);
    }

    #[test]
    fn no_crate_names_itself_in_a_circle() {
        let mut done: Vec<&str> = Vec::new();
        while done.len() < MAY_NAME.len() {
            let next = MAY_NAME.iter().find(|(name, may_name)| {
                !done.contains(name) && may_name.iter().all(|named| done.contains(named))
            });
            done.push(next.expect("the table has no circle").0);
        }
    }
}
