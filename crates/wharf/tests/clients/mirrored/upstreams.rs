//! Real registries to be upstreams: docker-registry as anybody's, with Basic and with a token service, a Wharf with
//! users, and a Wharf that is itself a mirror.

use super::tokens::{self, Tokens};
use std::any::Any;
use std::path::Path;
use std::process::Command;
use test_kit::house::PASSWORD;
use test_kit::image::Layout;
use test_kit::{Between, Cmd, Daemon, House, WharfServer, free_port, temp_dir, tools};

/// Who may push to and pull from the upstreams that have users.
pub const USER: &str = "ann";

/// [`PASSWORD`] as htpasswd keeps it.
const PASSWORD_HASH: &str = "$2b$05$abcdefghijklmnopqrstuux.SwQlzzbJc6UD4jQ9wW40kaq067WTO";

/// Who docker-registry lets in.
pub enum Auth {
    /// Everybody.
    Nobody,
    /// Who knows the password, by Basic.
    Basic,
    /// Who has a token.
    Token,
}

/// A running upstream, with what counts the requests that come to it.
pub struct Upstream {
    /// The first part of its repositories' names at the mirror.
    pub key: &'static str,
    /// What clients call it.
    pub namespace: String,
    /// The repository that is pushed to it.
    pub repository: &'static str,
    between: Between,
    authority: String,
    /// What its repositories are called where they are pushed.
    place: String,
    has_users: bool,
    /// What stands in the mirror's configuration besides.
    lines: String,
    /// What runs, and the folders of what runs, to be dropped in this order.
    running: Vec<Box<dyn Any>>,
}

impl Upstream {
    fn new(key: &'static str, authority: &str, has_users: bool, running: Vec<Box<dyn Any>>) -> Self {
        Upstream {
            key,
            namespace: format!("{key}.example"),
            repository: "team/app",
            between: Between::new(authority),
            authority: authority.to_owned(),
            place: authority.to_owned(),
            has_users,
            lines: String::new(),
            running,
        }
    }

    /// A docker-registry.
    pub fn docker_registry(key: &'static str, auth: &Auth) -> Self {
        let (authority, running) = docker_registry(auth, "");
        Self::new(key, &authority, !matches!(auth, Auth::Nobody), running)
    }

    /// The same, called Docker Hub.
    pub fn hub() -> Self {
        let hub = Self::docker_registry("hub", &Auth::Nobody);
        let lines = "library = \"library\"\npathless = true\n".to_owned();
        Upstream { namespace: "docker.io".to_owned(), repository: "library/app", lines, ..hub }
    }

    /// A Wharf with users.
    pub fn wharf(exe: &str) -> Self {
        let house = House::start(exe);
        house.project("team", serde_json::json!({}));
        house.member(USER, "developer", "team");
        let authority = house.server.authority();
        Self::new("wharf", &authority, true, vec![Box::new(house)])
    }

    /// A Wharf that mirrors a docker-registry.
    pub fn region(exe: &str) -> Self {
        let (world, mut running) = docker_registry(&Auth::Nobody, "");
        let config = format!("[[upstream]]\nkey = \"world\"\nregistry = \"{world}\"\n");
        let region = WharfServer::builder(exe).config(&config).start();
        let authority = region.authority();
        running.insert(0, Box::new(region));
        let region = Self::new("region", &authority, false, running);
        Upstream { place: world, lines: "prefix = \"world\"\n".to_owned(), ..region }
    }

    /// What the configuration of a mirror says of it. The folder is for its password.
    pub fn section(&self, dir: &Path) -> String {
        let mut text = format!(
            "[[upstream]]\nkey = \"{}\"\nregistry = \"{}\"\nnamespaces = [\"{}\"]\n{}",
            self.key,
            self.between.authority(),
            self.namespace,
            self.lines,
        );
        if self.has_users {
            let file = dir.join("password");
            std::fs::write(&file, PASSWORD).expect("a file can be written");
            text += &format!("username = \"{USER}\"\npassword_file = \"{}\"\n", file.display());
        }
        text
    }

    /// Pushes what has this tag in the layout, past what counts.
    pub fn push(&self, layout: &Layout, tag: &str) {
        let cmd = Cmd::new("skopeo").args(["copy", "--quiet", "--all", "--preserve-digests"]);
        let cmd = match self.has_users {
            true => cmd.args(["--dest-creds", &format!("{USER}:{PASSWORD}")]),
            false => cmd,
        };
        let source = format!("oci:{}:{tag}", layout.dir().display());
        let target = format!("docker://{}/{}:{tag}", self.place, self.repository);
        cmd.args(["--dest-tls-verify=false", &source, &target]).run();
    }

    /// The requests for content that came since the last time.
    pub fn asked(&self) -> Vec<String> {
        let mut requests = self.between.take_requests();
        requests.retain(|request| request.contains("/manifests/") || request.contains("/blobs/"));
        requests
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.running.clear();
        std::net::TcpStream::connect(&self.authority).expect_err("nobody listens there any more");
    }
}

/// Starts a docker-registry with more lines of configuration.
pub fn docker_registry(auth: &Auth, more: &str) -> (String, Vec<Box<dyn Any>>) {
    let dir = temp_dir();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let port = free_port();
    let auth = match auth {
        Auth::Nobody => String::new(),
        Auth::Basic => {
            std::fs::write(path("htpasswd"), format!("{USER}:{PASSWORD_HASH}\n"))
                .expect("a file can be written");
            format!("auth: {{htpasswd: {{realm: docks, path: {}}}}}\n", path("htpasswd"))
        }
        Auth::Token => {
            let tokens = Tokens::start((USER, PASSWORD), Path::new(&path("bundle.crt")));
            format!(
                "auth: {{token: {{realm: \"{}\", service: {name}, issuer: {name}, rootcertbundle: {}}}}}\n",
                tokens.realm(),
                path("bundle.crt"),
                name = tokens::NAME,
            )
        }
    };
    let storage = format!("storage: {{filesystem: {{rootdirectory: {}}}}}\n", path("data"));
    let config = format!("version: 0.1\n{storage}http: {{addr: \"127.0.0.1:{port}\"}}\n{auth}{more}");
    std::fs::write(path("config.yml"), config).expect("a file can be written");
    let mut command = Command::new(tools::path("docker-registry"));
    command.arg("serve").arg(path("config.yml"));
    let mut daemon = Daemon::start(&mut command, Path::new(&path("log")));
    daemon.wait_for_port(port);
    (format!("127.0.0.1:{port}"), vec![Box::new(daemon), Box::new(dir)])
}
