//! helm: charts are artifacts like any other.

use crate::{manifest, server};
use std::fs;
use std::path::Path;
use test_kit::{Cmd, temp_dir};

#[test]
fn helm_pushes_and_pulls_a_chart() {
    let server = server();
    let home = temp_dir();
    let helm = |words: &[&str]| {
        let cmd = Cmd::new("helm").env("HOME", home.path()).current_dir(home.path());
        cmd.env("HELM_CACHE_HOME", home.path().join("cache")).args(words)
    };
    write_chart(&home.path().join("boat"), "boat", "1.2.3+build.4");
    helm(&["package", "boat"]).run();
    let packaged = fs::read(home.path().join("boat-1.2.3+build.4.tgz")).expect("helm wrote the package");

    let target = format!("oci://{}/charts", server.authority());
    helm(&["push", "--plain-http", "boat-1.2.3+build.4.tgz", &target]).run();
    // A `+` is not legal in a tag: helm writes it as `_`.
    let (_, pushed) = manifest(&server, "charts/boat", "1.2.3_build.4");
    assert_eq!(pushed["config"]["mediaType"], "application/vnd.cncf.helm.config.v1+json");
    assert_eq!(pushed["layers"][0]["digest"], test_kit::sha256(&packaged));

    let chart = format!("{target}/boat");
    fs::create_dir(home.path().join("pulled")).expect("a folder can be made");
    helm(&["pull", "--plain-http", &chart, "--version=1.2.3+build.4", "--destination=pulled"]).run();
    let pulled =
        fs::read(home.path().join("pulled/boat-1.2.3+build.4.tgz")).expect("helm pulled the package");
    assert_eq!(pulled, packaged);
    let shown = helm(&["show", "chart", "--plain-http", &chart, "--version=1.2.3+build.4"]).run();
    assert!(shown.stdout.contains("description: floats"), "{}", shown.stdout);
}

/// Writes the source of a chart.
pub fn write_chart(dir: &Path, name: &str, version: &str) {
    fs::create_dir_all(dir.join("templates")).expect("a folder can be made");
    let chart = format!("apiVersion: v2\nname: {name}\nversion: {version}\ndescription: floats\n");
    fs::write(dir.join("Chart.yaml"), chart).expect("a file can be written");
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: boat\n";
    fs::write(dir.join("templates/map.yaml"), template).expect("a file can be written");
}
