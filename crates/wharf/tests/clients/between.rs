//! What one tool has pushed, every other tool pulls.

use crate::buildah::Buildah;
use crate::containerd::Containerd;
use crate::crane::Crane;
use crate::docker::Docker;
use crate::oras::Oras;
use crate::podman::Podman;
use crate::skopeo::Skopeo;
use crate::{Client, manifest, server};
use test_kit::image::{ImageSpec, Layout};
use test_kit::temp_dir;

#[test]
fn every_tool_pulls_what_any_tool_pushed() {
    let server = server();
    let clients: [&dyn Client; 7] = [
        &Skopeo,
        &Podman::new(),
        &Buildah::new(),
        &Docker::start(),
        &Containerd::start(&server),
        &Crane,
        &Oras,
    ];
    let dir = temp_dir();
    let mut layout = Layout::create(&dir.path().join("layout"));
    for (seed, from) in clients.iter().enumerate() {
        let image = layout.image(&ImageSpec { seed: seed as u64, ..ImageSpec::default() });
        layout.tag(&image, from.name());
        let repository = format!("between/{}", from.name());
        let reference = format!("{}/{repository}:{}", server.authority(), from.name());
        from.push(&layout, from.name(), &reference);
        let (digest, _) = manifest(&server, &repository, from.name());
        for to in clients {
            assert_eq!(to.pull(&reference), digest, "{} to {}", from.name(), to.name());
        }
    }
}
