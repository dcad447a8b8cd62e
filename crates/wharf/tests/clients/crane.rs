//! crane: push and pull of layouts, copies, lists, validation, deletion.

use crate::skopeo::first_in_layout;
use crate::{Client, manifest, round_trip, server};
use test_kit::image::{ImageSpec, Layout};
use test_kit::{Cmd, temp_dir};

/// crane, which keeps nothing.
pub struct Crane;

fn crane(verb: &str) -> Cmd {
    Cmd::new("crane").args([verb, "--insecure"])
}

impl Client for Crane {
    fn name(&self) -> &'static str {
        "crane"
    }

    fn push(&self, layout: &Layout, tag: &str, reference: &str) {
        // crane pushes a whole layout, so it gets one that holds only the image meant.
        let dir = temp_dir();
        let source = format!("oci:{}:{tag}", layout.dir().display());
        let target = format!("oci:{}:{tag}", dir.path().display());
        Cmd::new("skopeo").args(["copy", "--quiet", "--preserve-digests", &source, &target]).run();
        crane("push").arg(dir.path()).arg(reference).run();
    }

    fn pull(&self, reference: &str) -> String {
        let dir = temp_dir();
        crane("pull").args(["--format=oci", reference]).arg(dir.path()).run();
        crane("validate").args(["--remote", reference]).run();
        first_in_layout(dir.path())
    }
}

#[test]
fn crane_pushes_and_pulls() {
    round_trip(&Crane, &server());
}

#[test]
fn crane_copies_lists_and_deletes() {
    let server = server();
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    let index = layout.index(&ImageSpec { seed: 3, ..ImageSpec::default() }, &["amd64", "arm64"]);
    layout.tag(&index, "all");
    let first = format!("{}/crane/first", server.authority());
    let second = format!("{}/crane/second", server.authority());
    crane("push").arg(layout.dir()).arg(format!("{first}:all")).run();
    assert_eq!(crane("digest").arg(format!("{first}:all")).run().text(), index.digest);

    crane("copy").args([format!("{first}:all"), format!("{second}:copy")]).run();
    assert_eq!(manifest(&server, "crane/second", "copy").0, index.digest);
    crane("tag").args([&format!("{second}:copy"), "other"]).run();
    assert_eq!(crane("ls").arg(&second).run().text(), "copy\nother");
    let catalog = crane("catalog").arg(server.authority()).run();
    assert_eq!(catalog.text(), "crane/first\ncrane/second");

    crane("delete").arg(format!("{second}@{}", index.digest)).run();
    crane("digest").arg(format!("{second}:copy")).run_to_fail();
    assert_eq!(crane("digest").arg(format!("{first}:all")).run().text(), index.digest);
}
