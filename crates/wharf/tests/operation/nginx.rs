//! Behind nginx with TLS, HTTP/2, a path prefix and compression of everything: what arrives is what was sent.

use std::fs;
use std::path::Path;
use std::process::Command;
use test_kit::certificate::Certificate;
use test_kit::curl::{Curl, Version};
use test_kit::http::{Response, with_query};
use test_kit::image::{ImageSpec, Layout, MANIFEST};
use test_kit::{Cmd, Daemon, WharfServer, free_port, sha256, temp_dir, tools};

/// The path under which nginx publishes the registry, beside the root.
const PREFIX: &str = "/behind/nginx";

/// An nginx of our own before a server.
pub struct Nginx {
    // Before the folder, because fields are dropped in this order and the process must end first.
    _daemon: Daemon,
    port: u16,
    certificate: Certificate,
    dir: tempfile::TempDir,
}

impl Nginx {
    pub fn start(server: &WharfServer) -> Self {
        let dir = temp_dir();
        let certificate = Certificate::create(dir.path(), "nginx");
        let port = free_port();
        let config = dir.path().join("nginx.conf");
        fs::write(&config, configuration(dir.path(), port, server, &certificate))
            .expect("a file can be written");
        let mut command = Command::new(tools::path("nginx"));
        command.arg("-c").arg(&config).arg("-p").arg(dir.path());
        let mut daemon = Daemon::start(&mut command, &dir.path().join("log"));
        daemon.wait_for_port(port);
        Nginx { _daemon: daemon, port, certificate, dir }
    }

    /// Requests to it over HTTP/2.
    pub fn curl(&self) -> Curl {
        Curl::tls(Version::Http2, &self.certificate)
    }

    fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of a path of the server, without the prefix.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.authority())
    }
}

fn configuration(dir: &Path, port: u16, server: &WharfServer, certificate: &Certificate) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {dir}/{kind};\n"))
        .concat();
    let location = |path: &str| {
        format!(
            "        location {path}/ {{
            proxy_pass {url}/;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header Forwarded \"\";
            proxy_set_header X-Forwarded-Prefix \"{path}\";
        }}\n",
            url = server.url()
        )
    };
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {dir}/pid;
error_log stderr;
events {{}}
http {{
{temporary}    access_log off;
    client_max_body_size 0;
    gzip on;
    gzip_types *;
    gzip_proxied any;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {cert};
        ssl_certificate_key {key};
{root}{prefixed}    }}
}}
",
        cert = certificate.cert.display(),
        key = certificate.key.display(),
        root = location(""),
        prefixed = location(PREFIX),
    )
}

/// Where a `Location` leads from the address that was asked.
fn resolve(base: &str, location: &str) -> String {
    let origin_end = base.match_indices('/').nth(2).map_or(base.len(), |(at, _)| at);
    if location.contains("://") {
        location.to_owned()
    } else if location.starts_with('/') {
        format!("{}{location}", &base[..origin_end])
    } else {
        let folder = base.rfind('/').map_or(base.len(), |slash| slash + 1);
        format!("{}{location}", &base[..folder])
    }
}

/// Pushes a blob through nginx in two pieces; returns where it is.
fn push_blob(nginx: &Nginx, repository: &str, bytes: &[u8]) -> String {
    let curl = nginx.curl();
    let start = nginx.url(&format!("{PREFIX}/v2/{repository}/blobs/uploads/"));
    let started = curl.send("POST", &start, &[], Some(b"")).expect(202);
    let upload = resolve(&start, started.require("location"));
    assert!(upload.contains(PREFIX), "the upload's address lost the prefix: {upload}");
    let patched = curl.send("PATCH", &upload, &[], Some(bytes)).expect(202);
    let upload = resolve(&upload, patched.require("location"));
    let digest = sha256(bytes);
    let done =
        curl.send("PUT", &with_query(&upload, &format!("digest={digest}")), &[], Some(b"")).expect(201);
    let blob = resolve(&upload, done.require("location"));
    assert_eq!(blob, nginx.url(&format!("{PREFIX}/v2/{repository}/blobs/{digest}")));
    blob
}

#[track_caller]
fn same(through: &Response, direct: &Response) {
    assert_eq!(through.status, direct.status, "{through}");
    assert!(through.body == direct.body, "other bytes: {through}");
    for header in ["content-type", "content-length", "content-range", "docker-content-digest", "etag"] {
        assert_eq!(through.header(header), direct.header(header), "{header}: {through}");
    }
    // `identity` says the same as no header, and keeps proxies from compressing.
    assert!(matches!(through.header("content-encoding"), None | Some("identity")), "{through}");
}

#[test]
fn bytes_lengths_ranges_and_digests_are_unchanged() {
    let server = WharfServer::start(env!("CARGO_BIN_EXE_wharf"));
    let nginx = Nginx::start(&server);
    // Text that compresses well, of a type that a proxy likes to compress.
    let config = format!("{{\"text\":\"{}\"}}", "wharf ".repeat(20_000)).into_bytes();
    let blob = push_blob(&nginx, "some/image", &config);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/json", "digest": sha256(&config), "size": config.len()},
        "layers": [],
    });
    let manifest_url = nginx.url(&format!("{PREFIX}/v2/some/image/manifests/v1"));
    let content_type = format!("Content-Type: {MANIFEST}");
    let cmd = Cmd::new("curl").args(["--silent", "--show-error", "--fail", "--http2", "--cacert"]);
    let cmd = cmd.arg(&nginx.certificate.cert).args(["--request", "PUT", "--header", &content_type]);
    cmd.args(["--data-binary", "@-", &manifest_url]).stdin(manifest.to_string()).run();

    let ranges: [&[&str]; 4] = [&[], &["Range: bytes=10-99"], &["Range: bytes=500-"], &["Range: bytes=-7"]];
    for url in [blob, manifest_url] {
        let direct = url.replace(&nginx.url(PREFIX), &server.url());
        for method in ["GET", "HEAD"] {
            for range in ranges {
                let headers = [range, &["Accept-Encoding: gzip, deflate, br", "Accept: */*"]].concat();
                let through = nginx.curl().send(method, &url, &headers, None);
                same(&through, &Curl::plain().send(method, &direct, &headers, None));
            }
        }
    }
}

#[test]
fn a_real_client_pushes_and_pulls_through_nginx() {
    let server = WharfServer::start(env!("CARGO_BIN_EXE_wharf"));
    let nginx = Nginx::start(&server);
    let certificates = nginx.dir.path().join("certificates");
    fs::create_dir(&certificates).expect("a folder can be made");
    fs::copy(&nginx.certificate.cert, certificates.join("ca.crt")).expect("a file can be copied");
    let mut layout = Layout::create(&nginx.dir.path().join("layout"));
    let index = layout.index(&ImageSpec::default(), &["amd64", "arm64"]);
    layout.tag(&index, "v1");
    let local = |name: &str| format!("oci:{}:v1", nginx.dir.path().join(name).display());
    let remote = format!("docker://{}/through/nginx:v1", nginx.authority());
    let copy = || Cmd::new("skopeo").args(["copy", "--quiet", "--all", "--preserve-digests"]);
    copy().arg("--dest-cert-dir").arg(&certificates).args([&local("layout"), &remote]).run();
    copy().arg("--src-cert-dir").arg(&certificates).args([&remote, &local("back")]).run();
    let back = fs::read_to_string(nginx.dir.path().join("back/index.json")).expect("skopeo wrote the layout");
    assert!(back.contains(&index.digest), "{back}");
}
