//! What old and other registries have: Docker's media types, schema 1, and blobs that are somewhere else.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use test_kit::house::{image, push_blob};
use test_kit::http::Client;
use test_kit::image::{DOCKER_MANIFEST, ImageSpec, Layout};
use test_kit::{Cmd, Daemon, WharfServer, free_port, temp_dir, tools};

use crate::EXE;

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A docker-registry with a folder of its own, and a mirror of it whose key is `old`.
struct Scene {
    // Before the folder, because fields are dropped in this order and the process must end first.
    _daemon: Daemon,
    authority: String,
    mirror: WharfServer,
    dir: tempfile::TempDir,
}

/// A docker-registry with its data in a folder, and more lines in its configuration.
pub(crate) fn docker_registry(dir: &Path, more: &str) -> (Daemon, String) {
    let authority = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "version: 0.1\nhttp: {{addr: \"{authority}\"}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n{more}",
        dir.join("data").display(),
    );
    std::fs::write(dir.join("config.yml"), config).expect("a file can be written");
    let mut command = Command::new(tools::path("docker-registry"));
    command.arg("serve").arg(dir.join("config.yml"));
    let mut daemon = Daemon::start(&mut command, &dir.join("log"));
    daemon.wait_until("it listened", |_| std::net::TcpStream::connect(&authority).ok());
    (daemon, authority)
}

impl Scene {
    /// With more lines in both configurations.
    fn new(more: impl Fn(&Path) -> String, mirror: impl Fn(&Path) -> String) -> Self {
        let dir = temp_dir();
        let (daemon, authority) = docker_registry(dir.path(), &more(dir.path()));
        let section =
            format!("[[upstream]]\nkey = \"old\"\nregistry = \"{authority}\"\n{}", mirror(dir.path()));
        let mirror = WharfServer::builder(EXE).config(&section).start();
        Scene { _daemon: daemon, authority, mirror, dir }
    }

    fn plain() -> Self {
        Self::new(|_| String::new(), |_| String::new())
    }

    fn upstream(&self) -> Client {
        Client::new(&format!("http://{}", self.authority))
    }
}

#[test]
fn dockers_media_types_and_bytes_stay_whatever_a_client_accepts() {
    let scene = Scene::plain();
    let upstream = scene.upstream();
    push_blob(&upstream, "team/app", b"{}");
    let (mut manifest, layer) = image("one");
    push_blob(&upstream, "team/app", &layer);
    manifest["mediaType"] = DOCKER_MANIFEST.into();
    manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    // White space is a part of the digest.
    let manifest = serde_json::to_vec_pretty(&manifest).expect("JSON can be written");
    let digest = test_kit::sha256(&manifest);
    let list = json!({
        "schemaVersion": 2, "mediaType": DOCKER_LIST,
        "manifests": [{
            "mediaType": DOCKER_MANIFEST, "size": manifest.len(), "digest": digest,
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    });
    let list = serde_json::to_vec_pretty(&list).expect("JSON can be written");
    for (reference, media_type, bytes) in [(&*digest, DOCKER_MANIFEST, &manifest), ("v1", DOCKER_LIST, &list)]
    {
        let put = upstream.put(&format!("/v2/team/app/manifests/{reference}"));
        put.header("Content-Type", media_type).body(bytes.clone()).send().expect(201);
    }
    let mirror = scene.mirror.client();
    // The registry itself would choose an image of the list for who does not accept lists, or convert it.
    for accept in [DOCKER_LIST, DOCKER_MANIFEST, "application/vnd.oci.image.manifest.v1+json", "*/*", ""] {
        for method in ["HEAD", "GET"] {
            for (reference, media_type, bytes) in
                [("v1", DOCKER_LIST, &list), (&*digest, DOCKER_MANIFEST, &manifest)]
            {
                let request = mirror.request(method, &format!("/v2/old/team/app/manifests/{reference}"));
                let answer = request.header("Accept", accept).send().expect(200);
                assert_eq!(answer.require("content-type"), media_type, "{method} {reference} {accept}");
                assert_eq!(answer.require("content-length"), bytes.len().to_string());
                assert_eq!(answer.require("docker-content-digest"), test_kit::sha256(bytes));
                assert!(method == "HEAD" || answer.body == *bytes);
            }
        }
    }
}

#[test]
fn schema_1_is_refused_with_what_to_do() {
    let scene = Scene::new(|_| "compatibility: {schema1: {enabled: true}}\n".to_owned(), |_| String::new());
    let layout_dir = temp_dir();
    let mut layout = Layout::create(layout_dir.path());
    let old = layout.image(&ImageSpec { layers: 1, ..ImageSpec::default() });
    layout.tag(&old, "v1");
    let source = format!("oci:{}:v1", layout.dir().display());
    let target = format!("docker://{}/team/app:v1", scene.authority);
    let copy = ["copy", "--quiet", "--format=v2s1", "--dest-tls-verify=false"];
    Cmd::new("skopeo").args(copy).args([&source, &target]).run();
    let mirror = scene.mirror.client();
    let answer = mirror.get("/v2/old/team/app/manifests/v1");
    for word in ["schema 1", "schema 2"] {
        assert!(String::from_utf8_lossy(&answer.body).contains(word), "{answer}");
    }
    answer.expect_error_form(502);
    // However often that is asked for, it is no fault of the upstream's, which goes on to be asked for all else.
    for _ in 0..10 {
        mirror.head("/v2/old/team/app/manifests/v1").expect(502);
    }
    let new = test_kit::house::push(&scene.upstream(), "team/app", "v2");
    assert_eq!(test_kit::house::pull(&mirror, "old/team/app", "v2").expect(200).json(), new.manifest);
}

/// The password `rowing upstream at dawn`, as htpasswd keeps it.
const HTPASSWD: &str = "ann:$2b$05$abcdefghijklmnopqrstuux.SwQlzzbJc6UD4jQ9wW40kaq067WTO\n";

#[test]
fn blobs_that_are_somewhere_else_are_followed_without_credentials() {
    let cdn = free_port();
    let registry = |dir: &Path| {
        std::fs::write(dir.join("htpasswd"), HTPASSWD).expect("a file can be written");
        format!(
            "auth: {{htpasswd: {{realm: docks, path: {}}}}}\n\
             middleware: {{storage: [{{name: redirect, options: {{baseurl: \"http://127.0.0.1:{cdn}/\"}}}}]}}\n",
            dir.join("htpasswd").display(),
        )
    };
    let mirror = |dir: &Path| {
        std::fs::write(dir.join("password"), test_kit::house::PASSWORD).expect("a file can be written");
        format!("username = \"ann\"\npassword_file = \"{}\"\n", dir.join("password").display())
    };
    let scene = Scene::new(registry, mirror);
    let dir = scene.dir.path();
    let mut nginx = start_cdn(dir, cdn);
    nginx.wait_for_port(cdn);

    let upstream = scene.upstream().basic("ann", test_kit::house::PASSWORD);
    let pushed = test_kit::house::push(&upstream, "team/app", "v1");
    let mirror = scene.mirror.client();
    let path = format!("/v2/old/team/app/blobs/{}", pushed.layer);
    assert_eq!(mirror.head(&path).expect(200).require("content-length"), pushed.bytes.len().to_string());
    assert_eq!(mirror.get(&path).expect(200).body, pushed.bytes);
    let seen = std::fs::read_to_string(dir.join("cdn.log")).expect("nginx writes a log");
    assert!(seen.contains("GET /docker/registry/v2/blobs/sha256/"), "{seen}");
    assert!(seen.lines().all(|line| line.ends_with("authorization=-")), "{seen}");
}

/// nginx as the CDN of the registry whose folder is in `dir`.
fn start_cdn(dir: &Path, port: u16) -> Daemon {
    let shown = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {shown}/{kind};\n"))
        .concat();
    let config = format!(
        "daemon off;\nuser root;\npid {shown}/nginx.pid;\nerror_log {shown}/nginx.err;\nevents {{}}\nhttp {{\n{temporary}\
         log_format seen '$request authorization=$http_authorization';\naccess_log {shown}/cdn.log seen;\n\
         server {{ listen 127.0.0.1:{port}; root {shown}/data; }}\n}}\n"
    );
    std::fs::write(dir.join("nginx.conf"), config).expect("a file can be written");
    let mut command = Command::new(tools::path("nginx"));
    command.arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
    Daemon::start(&mut command, &dir.join("nginx.log"))
}
