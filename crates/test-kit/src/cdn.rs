//! nginx with a cache, as a public CDN: it keys on the whole address, knows nothing of signatures, and fetches parts.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::http::Client;
use crate::{Daemon, free_port, temp_dir, tools};

/// The bytes of a part that it fetches at once.
pub const SLICE: usize = 1 << 20;

/// The path under which it has everything once more.
pub const BEHIND: &str = "/behind";

/// A cache before a server. Its address is known before it runs.
pub struct Cdn {
    // Before the folder, because fields are dropped in this order and the process must end first.
    daemon: Option<Daemon>,
    dir: TempDir,
    port: u16,
}

impl Cdn {
    /// One that does not run yet.
    pub fn new() -> Self {
        Cdn { daemon: None, dir: temp_dir(), port: free_port() }
    }

    /// Where it is, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(&self.url())
    }

    /// Starts it before `host:port`, with what it has kept.
    pub fn start(&mut self, origin: &str) {
        let config = self.dir.path().join("nginx.conf");
        fs::write(&config, configuration(self.dir.path(), self.port, origin)).expect("a file can be written");
        let mut command = Command::new(tools::path("nginx"));
        command.arg("-c").arg(&config).arg("-p").arg(self.dir.path());
        let mut daemon = Daemon::start(&mut command, &self.dir.path().join("log"));
        daemon.wait_for_port(self.port);
        self.daemon = Some(daemon);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.daemon = None;
    }
}

impl Default for Cdn {
    fn default() -> Self {
        Self::new()
    }
}

fn configuration(dir: &Path, port: u16, origin: &str) -> String {
    let dir = dir.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {dir}/{kind};\n"))
        .concat();
    // What is passed on by the second is without what stands before `/edge/`.
    let location = |path: &str, origin: &str| {
        format!(
            "        location {path}/edge/ {{
            slice {SLICE};
            proxy_cache edge;
            proxy_cache_key $request_uri$slice_range;
            proxy_cache_lock on;
            proxy_set_header Range $slice_range;
            proxy_set_header Authorization \"\";
            proxy_http_version 1.1;
            proxy_pass http://{origin};
            add_header X-Cache $upstream_cache_status always;
        }}\n"
        )
    };
    let (root, behind) = (location("", origin), location(BEHIND, &format!("{origin}/edge/")));
    format!(
        "daemon off;
user root;
worker_processes 1;
pid {dir}/pid;
error_log stderr;
events {{}}
http {{
{temporary}    access_log off;
    proxy_cache_path {dir}/cache keys_zone=edge:10m inactive=7d use_temp_path=off;
    server {{
        listen 127.0.0.1:{port};
{root}{behind}    }}
}}
"
    )
}
