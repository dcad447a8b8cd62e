//! OpenLDAP's server with a directory of its own: `dc=example,dc=org`, people and groups as the test adds them.

use crate::certificate::Certificate;
use crate::{Cmd, Daemon, free_port, temp_dir, tools};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The entry that everything is below.
pub const BASE: &str = "dc=example,dc=org";
/// Where the first people are.
pub const PEOPLE: &str = "ou=people,dc=example,dc=org";
/// Where the first groups are.
pub const GROUPS: &str = "ou=groups,dc=example,dc=org";
/// The account that may do everything.
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
/// Its password.
pub const ADMIN_PASSWORD: &str = "admin's s3cret";

const FIRST: &str = "\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups
";

/// A running slapd; dropping it ends it and removes its data.
pub struct Slapd {
    daemon: Option<Daemon>,
    port: u16,
    tls_port: u16,
    authority: PathBuf,
    folder: TempDir,
}

impl Slapd {
    /// Starts a server that holds the folders for people and groups, and nobody in them.
    pub fn start() -> Self {
        let folder = temp_dir();
        let (authority, certificate) = Certificate::create_signed(folder.path(), "slapd");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a new folder can be made");
        let config = configuration(folder.path(), &certificate);
        std::fs::write(folder.path().join("slapd.conf"), config).expect("the configuration can be written");
        let (port, tls_port) = (free_port(), free_port());
        let mut slapd = Slapd { daemon: None, port, tls_port, authority, folder };
        slapd.start_again();
        slapd.add(FIRST);
        slapd
    }

    /// Where it listens without TLS; StartTLS is offered there.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Where it listens with TLS.
    pub fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// The certificate of the authority that signed its own.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Adds entries, in LDIF.
    pub fn add(&self, ldif: &str) {
        self.ldapmodify(&["-a"], ldif);
    }

    /// Changes or deletes entries, in LDIF with `changetype`.
    pub fn change(&self, ldif: &str) {
        self.ldapmodify(&[], ldif);
    }

    fn ldapmodify(&self, args: &[&str], ldif: &str) {
        let login = ["-x", "-H", &self.url(), "-D", ADMIN, "-w", ADMIN_PASSWORD];
        Cmd::new("ldapmodify").args(login).args(args).stdin(ldif).run();
    }

    /// Ends it; its data and its ports stay.
    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.terminate();
        }
    }

    /// Starts it where it was stopped.
    pub fn start_again(&mut self) {
        let mut command = Command::new(tools::path("slapd"));
        // In the foreground, so that it is our child.
        command.args(["-d", "0", "-f"]).arg(self.folder.path().join("slapd.conf"));
        command.args(["-h", &format!("{}/ {}/", self.url(), self.tls_url())]);
        let mut daemon = Daemon::start(&mut command, &self.folder.path().join("slapd.log"));
        daemon.wait_for_port(self.port);
        daemon.wait_for_port(self.tls_port);
        self.daemon = Some(daemon);
    }
}

/// Schemas and modules are where Debian keeps them. Binds without a password succeed, as they do in many directories: a test
/// that such a bind lets nobody in must not pass because the server refused it.
fn configuration(folder: &Path, certificate: &Certificate) -> String {
    let folder = folder.display();
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
allow bind_anon_dn
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
database mdb
suffix \"{BASE}\"
rootdn \"{ADMIN}\"
rootpw \"{ADMIN_PASSWORD}\"
directory {folder}/data
maxsize 16777216
access to attrs=userPassword by anonymous auth by * none
access to * by * read
overlay memberof
"
    )
}
