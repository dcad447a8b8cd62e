//! The whole matrix: every end-point and route, with every role, in projects that differ in who may see them.
//!
//! What is expected is worked out here, by a rule of its own from the permission of the end-point and the actions of
//! the role; and once more, for one project, it is written out by hand (`golden`), so that the rule cannot be wrong in
//! the way in which the code is.

use crate::registry;
use access::{Action, ActionSet, ROLES};
use http_admin::{ROUTES, Route};
use http_oci::Operation;
use serde_json::json;
use test_kit::http::{Client, Response};
use test_kit::sha256;

use crate::golden;
use test_kit::house::{House, personal_token, push};

/// What anybody may do in a public project.
const PUBLIC: ActionSet = ActionSet::of(&[Action::Pull, Action::ReadProject]);

/// What stands in answers that tell of what is private.
const TELLING: [&str; 5] = ["schemaVersion", "\"tags\"", "\"created\"", "\"items\"", "\"manifests\""];

/// A project, and the projects whose roles count in it.
struct Place {
    name: &'static str,
    public: bool,
    counting: &'static [&'static str],
}

const PLACES: [Place; 4] = [
    Place { name: "closed", public: false, counting: &["closed"] },
    Place { name: "closed/inner", public: false, counting: &["closed", "closed/inner"] },
    Place { name: "closed/sealed", public: false, counting: &["closed/sealed"] },
    Place { name: "open", public: true, counting: &["open"] },
];

impl Place {
    fn repository(&self) -> String {
        format!("{}/app", self.name)
    }

    /// The project that a project of this name would lie in.
    fn around(&self) -> Option<&'static Self> {
        let (around, _) = self.name.rsplit_once('/')?;
        PLACES.iter().find(|place| place.name == around)
    }
}

/// Somebody who asks, and what was given to them.
struct Caller {
    name: String,
    client: Client,
    everywhere: ActionSet,
    given: Vec<(&'static str, ActionSet)>,
    /// What their credential is good for at most, where it is not good for all.
    limit: Option<(&'static str, ActionSet)>,
    /// They say who they are.
    known: bool,
}

impl Caller {
    fn new(name: &str, client: Client) -> Self {
        let (name, given) = (name.to_owned(), Vec::new());
        Caller { name, client, everywhere: ActionSet::NONE, given, limit: None, known: true }
    }

    /// The rule: may they do this, in a place or to the registry as a whole?
    fn may(&self, action: Action, place: Option<&Place>) -> bool {
        let counts = |project: &str| place.is_some_and(|place| place.counting.contains(&project));
        let given = self.given.iter().any(|(project, actions)| counts(project) && actions.contains(action));
        let public = place.is_some_and(|place| place.public) && PUBLIC.contains(action);
        let is_within = |limit: &str| {
            place.is_some_and(|place| place.name == limit || place.name.starts_with(&format!("{limit}/")))
        };
        let good = self.limit.as_ref().is_none_or(|(at, actions)| is_within(at) && actions.contains(action));
        good && (self.everywhere.contains(action) || given || public)
    }

    /// Panics unless the answer is what this caller gets: for what they may, anything but a refusal.
    #[track_caller]
    fn check(&self, answer: &Response, may: bool) {
        let status = answer.status;
        let refused = if self.known { 403 } else { 401 };
        match may {
            true => assert!(!matches!(status, 401 | 403 | 500..), "{} may: {answer}", self.name),
            false => assert_eq!(status, refused, "{} may not: {answer}", self.name),
        }
        let body = String::from_utf8_lossy(&answer.body);
        let shown = TELLING.iter().any(|secret| body.contains(secret));
        assert!(may || !shown, "{} may not, and saw it: {answer}", self.name);
    }
}

/// The registry of the matrix.
struct World {
    house: House,
    /// In the order of the columns of `golden`.
    callers: Vec<Caller>,
    /// The digests of the images, in the order of the places.
    digests: [String; PLACES.len()],
}

impl World {
    fn new() -> Self {
        let house = registry();
        house.project("closed", json!({}));
        house.project("closed/inner", json!({}));
        house.project("closed/sealed", json!({"inherit_roles": false}));
        house.project("open", json!({"public": true}));
        let pushed = PLACES.map(|place| push(&house.admin, &place.repository(), "v1"));
        let callers = callers(&house);
        assert_eq!(callers.len(), golden::COLUMNS.len(), "each caller has a column");
        for (caller, column) in callers.iter().zip(golden::COLUMNS) {
            assert_eq!(caller.name, *column);
        }
        World { house, callers, digests: pushed.map(|image| image.digest) }
    }
}

fn callers(house: &House) -> Vec<Caller> {
    let mut callers = vec![
        Caller { known: false, ..Caller::new("anonymous", house.anybody()) },
        Caller::new("nobody", house.user("nobody")),
    ];
    for role in ROLES {
        let name = format!("{}-of-closed", role.name);
        let client = house.member(&name, role.name, "closed");
        callers.push(Caller { given: vec![("closed", role.actions)], ..Caller::new(&name, client) });
    }
    for role in ROLES {
        let name = format!("{}-everywhere", role.name);
        let client = house.user(&name);
        house.give(&name, role.name, None);
        callers.push(Caller { everywhere: role.actions, ..Caller::new(&name, client) });
    }
    let pull = ActionSet::of(&[Action::Pull]);
    let robot = house.with(&house.robot("closed", "ci", &["pull"]));
    callers.push(Caller { given: vec![("closed", pull)], ..Caller::new("robot-of-closed", robot) });
    let owner = callers.iter().find(|caller| caller.name == "system-admin-everywhere").expect("it was made");
    let permissions = json!([{"project": "closed/inner", "actions": ["pull", "push"]}]);
    let token = personal_token(&owner.client, &owner.name, Some(permissions));
    let limit = Some(("closed/inner", pull.with(Action::Push)));
    let everywhere = owner.everywhere;
    let token = Caller { everywhere, limit, ..Caller::new("token-for-inner", house.with(&token)) };
    callers.push(token);
    callers
}

/// How somebody shows who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Basic,
    Bearer,
}

#[test]
fn the_registry_lets_in_whom_it_should() {
    let world = World::new();
    for way in [Way::Basic, Way::Bearer] {
        for caller in &world.callers {
            for (place, digest) in PLACES.iter().zip(&world.digests) {
                let client = signed_in(&world.house, caller, place, way);
                for operation in Operation::ALL {
                    let answer = ask(&client, *operation, place, digest);
                    let may = may_operate(caller, *operation, place, way);
                    caller.check(&answer, may);
                    if *operation == Operation::Catalog && way == Way::Basic {
                        let seen: Vec<_> =
                            PLACES.iter().filter(|place| caller.may(Action::Pull, Some(place))).collect();
                        let names: Vec<_> = seen.iter().map(|place| place.repository()).collect();
                        assert_eq!(answer.json()["repositories"], json!(names), "{}", caller.name);
                    }
                    // What one could delete is there for the next.
                    if operation.sample().starts_with("DELETE") && answer.status == 202 {
                        push(&world.house.admin, &place.repository(), "v1");
                    }
                }
            }
        }
    }
}

fn signed_in(house: &House, caller: &Caller, place: &Place, way: Way) -> Client {
    match way {
        Way::Basic => caller.client.clone(),
        Way::Bearer => {
            let scope = format!("repository:{}:pull,push,delete", place.repository());
            house.bearer(&caller.client, &[&scope, "registry:catalog:*"])
        }
    }
}

fn may_operate(caller: &Caller, operation: Operation, place: &Place, way: Way) -> bool {
    match operation.permission() {
        http_oci::Permission::Repository(action) => caller.may(action, Some(place)),
        // There is a public project, so there is something to list for everybody.
        http_oci::Permission::List => true,
        // Whoever got an access token has signed in as what they are: as nobody in particular, too.
        http_oci::Permission::SignedIn => caller.known || way == Way::Bearer,
    }
}

fn ask(client: &Client, operation: Operation, place: &Place, digest: &str) -> Response {
    let line = operation.sample().replace("{name}", &place.repository());
    let line = line.replace("{upload}", "0192f3a4-7c1e-7b3a-9d2e-3f1b5a6c7d8e");
    let digest = match operation {
        Operation::GetBlob | Operation::DeleteBlob => &sha256(b"{}"),
        _ => digest,
    };
    let line = line.replace("{digest}", digest);
    let (method, path) = line.split_once(' ').expect("a request line");
    let request = client.request(method, path);
    if method == "GET" { request.send() } else { request.body("{}").send() }
}

#[test]
fn the_administration_api_lets_in_whom_it_should() {
    let world = World::new();
    for caller in &world.callers {
        for place in &PLACES {
            for route in ROUTES {
                let answer = call(&caller.client, route, place);
                caller.check(&answer, may_call(caller, route, place));
            }
        }
        if caller.known {
            let listed = caller.client.get("/api/v1/projects").expect(200).json();
            let seen = PLACES.iter().filter(|place| caller.may(Action::ReadProject, Some(place)));
            let names = listed["items"].as_array().expect("a list").iter().map(|project| &project["name"]);
            assert_eq!(
                names.collect::<Vec<_>>(),
                seen.map(|place| place.name).collect::<Vec<_>>(),
                "{}",
                caller.name
            );
        }
    }
}

fn may_call(caller: &Caller, route: &Route, place: &Place) -> bool {
    match route.permission {
        http_admin::Permission::Anyone => true,
        http_admin::Permission::SignedIn => caller.known,
        http_admin::Permission::System(action) => caller.may(action, None),
        http_admin::Permission::Project(action) => caller.may(action, Some(place)),
        http_admin::Permission::Around(action) => caller.may(action, place.around()),
    }
}

/// Asks for a route, about things that are not there, so that nothing comes of it where it is allowed.
fn call(client: &Client, route: &Route, place: &Place) -> Response {
    let path = route.path.replace("{project}", place.name).replace("{principal}", "user:ghost");
    // The role of a member must be there, or else nobody could say whether it may be given.
    let role = if path.contains("/members/") { "guest" } else { "ghost" };
    let path = path.replace("{role}", role);
    let path = ["{user}", "{token}", "{passkey}", "{group}", "{robot}", "{upstream}"]
        .iter()
        .fold(path, |path, name| path.replace(name, "ghost"));
    assert!(!path.contains('{'), "{path}: something of it is not filled in");
    let request = client.request(route.method, &format!("/api/v1{path}"));
    match route.method {
        "GET" | "DELETE" => request.send(),
        "PATCH" => request.body("{}").send(),
        _ => request.body("").send(),
    }
}

#[test]
fn the_rule_agrees_with_what_is_written_by_hand() {
    let world = World::new();
    let closed = &PLACES[0];
    for operation in Operation::ALL {
        let expected = golden::of(golden::OPERATIONS, operation.name());
        for (caller, may) in world.callers.iter().zip(expected) {
            let found = may_operate(caller, *operation, closed, Way::Basic);
            assert_eq!(found, may, "{} {}", caller.name, operation.name());
        }
    }
    for route in ROUTES {
        let expected = golden::of(golden::ROUTES, &format!("{} {}", route.method, route.path));
        for (caller, may) in world.callers.iter().zip(expected) {
            assert_eq!(may_call(caller, route, closed), may, "{} {}", caller.name, route.name);
        }
    }
}
