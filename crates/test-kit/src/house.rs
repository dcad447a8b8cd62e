//! A registry with users, and what tests do in it over HTTP.

use crate::http::{Client, Response, with_query};
use crate::image::{Descriptor, MANIFEST};
use crate::{WharfServer, sha256};
use serde_json::{Value, json};

/// The password of everybody whom a test makes.
pub const PASSWORD: &str = "rowing upstream at dawn";

/// A running registry with users.
pub struct House {
    /// The server.
    pub server: WharfServer,
    /// Its administrator.
    pub admin: Client,
}

/// A robot, or a personal access token: what it signs in with.
pub struct Credential {
    /// The name.
    pub name: String,
    /// The secret.
    pub secret: String,
}

/// An image that was pushed.
pub struct Image {
    /// Its manifest.
    pub manifest: Value,
    /// The manifest's digest.
    pub digest: String,
    /// The digest of a blob of its own.
    pub layer: String,
    /// That blob.
    pub bytes: Vec<u8>,
}

impl House {
    /// Starts a registry with nothing in it; `exe` as for [`WharfServer::builder`].
    pub fn start(exe: &str) -> Self {
        let server = WharfServer::builder(exe).arg("--auth").arg("on").start();
        let admin = server.client().basic("admin", &server.first_password());
        House { server, admin }
    }

    /// Nobody in particular.
    pub fn anybody(&self) -> Client {
        self.server.client()
    }

    /// Makes a user who holds nothing.
    pub fn user(&self, name: &str) -> Client {
        let user = json!({"name": name, "password": PASSWORD, "must_change_password": false});
        send(&self.admin, "POST", "/users", &user).expect(201);
        self.anybody().basic(name, PASSWORD)
    }

    /// Makes a project.
    pub fn project(&self, name: &str, settings: Value) {
        send(&self.admin, "PUT", &format!("/projects/{name}"), &settings).expect(201);
    }

    /// Gives a role, in a project or everywhere.
    pub fn give(&self, user: &str, role: &str, project: Option<&str>) {
        self.admin.request("PUT", &member(user, role, project)).send().expect(204);
    }

    /// Takes a role away.
    pub fn take(&self, user: &str, role: &str, project: Option<&str>) {
        self.admin.delete(&member(user, role, project)).expect(204);
    }

    /// Makes a user with a role in a project.
    pub fn member(&self, name: &str, role: &str, project: &str) -> Client {
        let client = self.user(name);
        self.give(name, role, Some(project));
        client
    }

    /// Makes a robot of a project that may do this in it.
    pub fn robot(&self, project: &str, name: &str, actions: &[&str]) -> Credential {
        let new = json!({"name": name, "permissions": [{"project": project, "actions": actions}]});
        credential(&send(&self.admin, "POST", &format!("/projects/{project}/-/robots"), &new).expect(201))
    }

    /// A client that is signed in with a credential.
    pub fn with(&self, credential: &Credential) -> Client {
        self.anybody().basic(&credential.name, &credential.secret)
    }

    /// A client with an access token for these scopes, for who `claimant` is.
    pub fn bearer(&self, claimant: &Client, scopes: &[&str]) -> Client {
        self.anybody().bearer(&token(claimant, scopes))
    }
}

fn member(user: &str, role: &str, project: Option<&str>) -> String {
    let place = project.map(|project| format!("/projects/{project}/-")).unwrap_or_default();
    format!("/api/v1{place}/members/user:{user}/{role}")
}

/// Makes a personal access token.
pub fn personal_token(user: &Client, name: &str, permissions: Option<Value>) -> Credential {
    let new = json!({"label": "test", "permissions": permissions});
    let shown = send(user, "POST", "/me/tokens", &new).expect(201);
    Credential { name: name.to_owned(), secret: text(&shown.json()["secret"]) }
}

/// What a robot signs in with, as the answer that made it or gave it a new secret shows it.
pub fn credential(shown: &Response) -> Credential {
    let shown = shown.json();
    Credential { name: text(&shown["name"]), secret: text(&shown["secret"]) }
}

/// A text that must be there.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Sends a document to the administration API.
pub fn send(client: &Client, method: &str, path: &str, body: &Value) -> Response {
    let path = format!("/api/v1{path}");
    client.request(method, &path).header("Content-Type", "application/json").body(body.to_string()).send()
}

/// Asks the token service, with all that the query says.
pub fn ask_token(client: &Client, scopes: &[&str], more: &str) -> Response {
    let scopes: String = scopes.iter().map(|scope| format!("&scope={}", scope.replace(' ', "%20"))).collect();
    client.get(&format!("/token?service=wharf{scopes}{more}"))
}

/// An access token for these scopes.
pub fn token(client: &Client, scopes: &[&str]) -> String {
    text(&ask_token(client, scopes, "").expect(200).json()["token"])
}

/// Sends a form to the token service.
pub fn post_form(client: &Client, fields: &[(&str, &str)]) -> Response {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let encode = |text: &str| -> String {
        let each = text.bytes().map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        });
        each.collect()
    };
    let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let request = client.request("POST", "/token");
    request.header("Content-Type", "application/x-www-form-urlencoded").body(form.join("&")).send()
}

/// Starts an upload; its path.
pub fn start_upload(client: &Client, repository: &str) -> String {
    client.post(&format!("/v2/{repository}/blobs/uploads/")).expect(202).location()
}

/// Pushes a blob; its digest.
pub fn push_blob(client: &Client, repository: &str, bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    let upload = start_upload(client, repository);
    client.put(&with_query(&upload, &format!("digest={digest}"))).body(bytes).send().expect(201);
    digest
}

/// An image of two blobs that some text makes its own.
pub fn image(seed: &str) -> (Value, Vec<u8>) {
    let empty = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let bytes = format!("the one layer of {seed}").into_bytes();
    let layer = Descriptor::of("application/octet-stream", &bytes);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": empty.json(), "layers": [layer.json()],
        "annotations": {"seed": seed},
    });
    (manifest, bytes)
}

/// Sends a manifest, and not what it names.
pub fn put_manifest(client: &Client, repository: &str, reference: &str, manifest: &Value) -> Response {
    let path = format!("/v2/{repository}/manifests/{reference}");
    client.put(&path).header("Content-Type", MANIFEST).body(manifest.to_string()).send()
}

/// Pushes an image with its blobs under a tag.
pub fn push(client: &Client, repository: &str, tag: &str) -> Image {
    let (manifest, bytes) = image(&format!("{repository}:{tag}"));
    push_blob(client, repository, b"{}");
    let layer = push_blob(client, repository, &bytes);
    let pushed = put_manifest(client, repository, tag, &manifest).expect(201);
    Image { manifest, digest: pushed.require("docker-content-digest").to_owned(), layer, bytes }
}

/// Pulls a manifest.
pub fn pull(client: &Client, repository: &str, reference: &str) -> Response {
    let path = format!("/v2/{repository}/manifests/{reference}");
    client.request("GET", &path).header("Accept", MANIFEST).send()
}
