//! The routes: what there is, what a caller must be allowed to do for it, and who answers.
//!
//! One table: a route without a permission does not compile, and the permission is checked before the handler is
//! called. Tests walk the table with every role.

use std::collections::HashMap;

use access::Action;
use futures_util::future::BoxFuture;
use identity::model::{
    Fallback, Group, Member, MoreDays, NewFallback, NewRobot, NewSession, NewToken, NewUser, Passkey,
    Project as ProjectShown, ProjectPatch, RecoveryCodesShown, Robot, RobotPatch, Role, Rotation, Session,
    Shown, Token, TotpStart, User, UserPatch, Whoami,
};
use identity::{Page, UserName};
use oci::ProjectName;
use percent_encoding::percent_decode_str;
use schemars::{Schema, SchemaGenerator};

use crate::accounts::{GroupBody, NewPassword, OwnPassword, RoleBody};
use crate::call::Call;
use crate::factors::Code;
use crate::fallbacks::UseShown;
use crate::journal::{RecordPage, SEARCH, SYSLOG, Verdict};
use crate::lines::{CheckLine, GcLine, RebuildLine};
use crate::maintenance::{CheckRequest, GcRequest};
use crate::parameter::{self, AFTER, Parameter};
use crate::problem::Problem;
use crate::projects::ProjectBody;
use crate::reply::{HTML, Items, JSON, LINES, Reply};
use crate::upstreams::{Outage, UpstreamShown};
use crate::{accounts, factors, fallbacks, journal, maintenance, projects, reference, upstreams};

/// What a caller must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: the request carries its own proof, or tells nothing that is not public.
    Anyone,
    /// Nothing, but they must be somebody.
    SignedIn,
    /// This, to the registry as a whole.
    System(Action),
    /// This, to the project in the path.
    Project(Action),
    /// This, to the innermost project around the one in the path, or to the registry where there is none.
    Around(Action),
}

impl Permission {
    /// In words, for people.
    pub(crate) fn text(self) -> String {
        self.marked().replace('`', "")
    }

    /// The same in Markdown.
    pub(crate) fn marked(self) -> String {
        match self {
            Self::Anyone => "anyone".into(),
            Self::SignedIn => "signed in".into(),
            Self::System(action) => format!("`{}`", action.name()),
            Self::Project(action) => format!("`{}` in the project", action.name()),
            Self::Around(action) => format!("`{}` around the project", action.name()),
        }
    }
}

/// What is asked of the second factor of whoever has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondFactor {
    /// What signing in asks.
    Usual,
    /// A code with this very request, for what cannot be undone or says who may do what; a session that has just
    /// begun will do.
    StepUp,
    /// What signing in asks; and whoever must set a second factor up first is let in, too.
    Enrolment,
}

type Handler = for<'a> fn(&'a Call) -> BoxFuture<'a, Result<Reply, Problem>>;

/// The schema of a type, written among those that are there already.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The body of a request.
pub(crate) struct Takes {
    pub(crate) schema: SchemaOf,
    /// Whether there may be none.
    pub(crate) optional: bool,
}

/// The answer where all is well.
pub(crate) struct Gives {
    pub(crate) status: u16,
    /// The media type with the schema; none where there is nothing to say.
    pub(crate) content: Option<(&'static str, Option<SchemaOf>)>,
    /// Other media types, which are asked for by a parameter.
    pub(crate) others: &'static [&'static str],
}

impl Gives {
    const fn content(status: u16, media_type: &'static str, schema: Option<SchemaOf>) -> Self {
        Self { status, content: Some((media_type, schema)), others: &[] }
    }
}

/// One thing that can be asked for.
pub struct Route {
    /// A short name, for logs and metrics.
    pub name: &'static str,
    /// The method.
    pub method: &'static str,
    /// The path below `/api/v1`. `{project}` stands for one or more parts, other names in braces for one.
    pub path: &'static str,
    /// What a caller must be allowed to do.
    pub permission: Permission,
    /// What is asked of their second factor.
    pub second_factor: SecondFactor,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What its query knows.
    pub(crate) query: &'static [Parameter],
    /// What it takes, where it takes a body.
    pub(crate) takes: Option<Takes>,
    /// What it answers with where all is well.
    pub(crate) gives: Gives,
    pub(crate) handler: Handler,
}

/// A row: what is asked of the second factor, the request line with its query, the permission, the handler with the body
/// that it takes and what it gives. The body is read and the answer written here, so that neither can be other than
/// the row says.
macro_rules! routes {
    (@ask) => { SecondFactor::Usual };
    (@ask step_up) => { SecondFactor::StepUp };
    (@ask enrol) => { SecondFactor::Enrolment };
    (@query) => { parameter::NONE };
    (@query $query:ident) => { $query };
    (@takes) => { None };
    (@takes optional $body:ty) => { Some(Takes { schema: SchemaGenerator::subschema_for::<$body>, optional: true }) };
    (@takes $body:ty) => { Some(Takes { schema: SchemaGenerator::subschema_for::<$body>, optional: false }) };
    (@call $call:ident, $handler:path,) => { $handler($call).await? };
    (@call $call:ident, $handler:path, optional $body:ty) => { $handler($call, $call.read_or_default::<$body>()?).await? };
    (@call $call:ident, $handler:path, $body:ty) => { $handler($call, $call.read::<$body>()?).await? };
    (@gives ok $ty:ty) => { Gives::content(200, JSON, Some(SchemaGenerator::subschema_for::<$ty>)) };
    (@gives created $ty:ty) => { Gives::content(201, JSON, Some(SchemaGenerator::subschema_for::<$ty>)) };
    (@gives lines $ty:ty) => { Gives::content(200, LINES, Some(SchemaGenerator::subschema_for::<$ty>)) };
    (@gives records $ty:ty) => { Gives { others: &[LINES, SYSLOG], ..routes!(@gives ok $ty) } };
    (@gives done) => { Gives { status: 204, content: None, others: &[] } };
    (@gives document) => { Gives::content(200, JSON, None) };
    (@gives page) => { Gives::content(200, HTML, None) };
    (@reply ok $ty:ty, $value:expr) => { Reply::json::<$ty>(&$value) };
    (@reply created $ty:ty, $value:expr) => { Reply::created::<$ty>(&$value) };
    (@reply done, $value:expr) => {{ let () = $value; Ok(Reply::done()) }};
    (@reply $other:ident $($ty:ty)?, $value:expr) => { Ok::<Reply, Problem>($value) };
    ($($($ask:ident)? $method:literal $path:literal $(? $query:ident)?, $permission:expr,
        $module:ident::$name:ident($($takes:tt)*) -> $gives:ident $($ty:ty)?, $summary:literal;)+) => {
        /// All of them.
        pub static ROUTES: &[Route] = &[$(Route {
            name: stringify!($name),
            method: $method,
            path: $path,
            permission: $permission,
            second_factor: routes!(@ask $($ask)?),
            summary: $summary,
            query: routes!(@query $($query)?),
            takes: routes!(@takes $($takes)*),
            gives: routes!(@gives $gives $($ty)?),
            handler: |call| Box::pin(async move {
                routes!(@reply $gives $($ty)?, routes!(@call call, $module::$name, $($takes)*))
            }),
        }),+];
    };
}

use Permission::{Anyone, Around, Project, SignedIn, System};

const ADMINISTER: Permission = System(Action::Administer);
const USERS: Permission = System(Action::ManageUsers);

routes! {
    "GET" "/openapi.json", Anyone, reference::document() -> document, "Describes this API as OpenAPI has it";
    "GET" "/docs", Anyone, reference::page() -> page, "Describes this API for people";

    "POST" "/gc", ADMINISTER, maintenance::gc(optional GcRequest) -> lines GcLine, "Removes what no manifest needs any more";
    "POST" "/check", ADMINISTER, maintenance::check(optional CheckRequest) -> lines CheckLine, "Compares storage with metadata";
    "POST" "/rebuild", ADMINISTER, maintenance::rebuild() -> lines RebuildLine, "Rebuilds lost metadata from storage";

    "GET" "/upstreams", ADMINISTER, upstreams::upstreams() -> ok Items<UpstreamShown>, "Lists the upstreams and how they do";
    step_up "PUT" "/upstreams/{upstream}/outage", ADMINISTER, upstreams::begin_outage(Outage) -> done, "Cuts an upstream off for a while, to rehearse its outage";
    "DELETE" "/upstreams/{upstream}/outage", ADMINISTER, upstreams::end_outage() -> done, "Ends the rehearsal of an outage";

    "GET" "/audit" ? SEARCH, System(Action::ReadAudit), journal::search() -> records RecordPage, "Searches the audit journal";
    "POST" "/audit/verify", System(Action::ReadAudit), journal::verify() -> ok Verdict, "Looks whether the audit journal was tampered with";
    "GET" "/projects/{project}/-/audit" ? SEARCH, Project(Action::ReadAudit), journal::search() -> records RecordPage, "Searches the audit journal of a project";

    "POST" "/session", Anyone, factors::open_session(NewSession) -> created Session, "Signs in, for several requests";
    enrol "DELETE" "/session", SignedIn, factors::end_session() -> done, "Signs out: ends the session that is presented";
    enrol "GET" "/me", SignedIn, accounts::whoami() -> ok Whoami, "Shows who you are and what you may do";
    enrol "POST" "/me/totp", SignedIn, factors::start() -> created TotpStart, "Begins to set up an app that shows codes";
    enrol "POST" "/me/totp/confirm", SignedIn, factors::confirm(optional Code) -> ok RecoveryCodesShown, "Turns the codes of your app on";
    enrol "POST" "/me/totp/recovery-codes", SignedIn, factors::recovery_codes(optional Code) -> ok RecoveryCodesShown, "Gives you new recovery codes";
    enrol "DELETE" "/me/totp", SignedIn, factors::delete(optional Code) -> done, "Turns the codes of your app off";
    enrol "GET" "/me/passkeys", SignedIn, factors::passkeys() -> ok Items<Passkey>, "Lists your passkeys";
    "DELETE" "/me/passkeys/{passkey}", SignedIn, factors::delete_passkey(optional Code) -> done, "Removes one of your passkeys";
    "PUT" "/password", Anyone, accounts::change_password(OwnPassword) -> done, "Changes your own password";
    "GET" "/me/tokens", SignedIn, accounts::own_tokens() -> ok Items<Token>, "Lists your personal access tokens";
    "POST" "/me/tokens", SignedIn, accounts::create_token(NewToken) -> created Shown<Token>, "Makes a personal access token";
    "DELETE" "/me/tokens/{token}", SignedIn, accounts::delete_own_token() -> done, "Revokes one of your tokens";

    "GET" "/users" ? AFTER, USERS, accounts::users() -> ok Page<User>, "Lists users";
    "POST" "/users", USERS, accounts::create_user(NewUser) -> created User, "Makes a user";
    "GET" "/users/{user}", USERS, accounts::user() -> ok User, "Shows a user";
    step_up "PATCH" "/users/{user}", USERS, accounts::change_user(UserPatch) -> ok User, "Changes a user";
    step_up "DELETE" "/users/{user}/totp", USERS, factors::delete_of() -> done, "Removes all second factors of a user";
    step_up "DELETE" "/users/{user}", USERS, accounts::delete_user() -> done, "Deletes a user";
    step_up "POST" "/users/{user}/reset-password", USERS, accounts::reset_password() -> ok NewPassword, "Gives a user a new password";
    "GET" "/users/{user}/tokens", USERS, accounts::tokens() -> ok Items<Token>, "Lists the tokens of a user";
    "DELETE" "/users/{user}/tokens/{token}", USERS, accounts::delete_token() -> done, "Revokes a token of a user";

    "GET" "/groups" ? AFTER, USERS, accounts::groups() -> ok Page<Group>, "Lists groups";
    step_up "PUT" "/groups/{group}", USERS, accounts::put_group(optional GroupBody) -> ok Group, "Makes or changes a group";
    step_up "DELETE" "/groups/{group}", USERS, accounts::delete_group() -> done, "Deletes a group";
    "GET" "/groups/{group}/members", USERS, accounts::group_members() -> ok Items<UserName>, "Lists the users in a group";
    step_up "PUT" "/groups/{group}/members/{user}", USERS, accounts::add_to_group() -> done, "Puts a user into a group";
    step_up "DELETE" "/groups/{group}/members/{user}", USERS, accounts::remove_from_group() -> done, "Takes a user out of a group";

    "GET" "/roles", SignedIn, accounts::roles() -> ok Items<Role>, "Lists roles";
    step_up "PUT" "/roles/{role}", System(Action::ManageRoles), accounts::put_role(RoleBody) -> ok Role, "Defines a role";
    step_up "DELETE" "/roles/{role}", System(Action::ManageRoles), accounts::delete_role() -> done, "Deletes a role";

    "GET" "/members", System(Action::ReadMembers), projects::members() -> ok Items<Member>, "Lists who has a role everywhere";
    step_up "PUT" "/members/{principal}/{role}", System(Action::ManageMembers), projects::add_member() -> done, "Gives a role everywhere";
    step_up "DELETE" "/members/{principal}/{role}", System(Action::ManageMembers), projects::remove_member() -> done, "Takes a role away";
    "GET" "/robots", System(Action::ManageRobots), projects::robots() -> ok Items<Robot>, "Lists the robots of the registry";
    step_up "POST" "/robots", System(Action::ManageRobots), projects::create_robot(NewRobot) -> created Shown<Robot>, "Makes a robot of the registry";
    "GET" "/robots/{robot}", System(Action::ManageRobots), projects::robot() -> ok Robot, "Shows a robot";
    step_up "PATCH" "/robots/{robot}", System(Action::ManageRobots), projects::change_robot(RobotPatch) -> ok Robot, "Changes a robot";
    "DELETE" "/robots/{robot}", System(Action::ManageRobots), projects::delete_robot() -> done, "Deletes a robot";
    step_up "POST" "/robots/{robot}/rotate", System(Action::ManageRobots), projects::rotate_robot(optional Rotation) -> ok Shown<Robot>, "Gives a robot a new secret";

    "GET" "/projects" ? AFTER, SignedIn, projects::projects() -> ok Page<ProjectShown>, "Lists the projects that you may see";
    "PUT" "/projects/{project}", Around(Action::CreateProject), projects::create_project(optional ProjectBody) -> created ProjectShown, "Makes a project";
    "GET" "/projects/{project}", Project(Action::ReadProject), projects::project() -> ok ProjectShown, "Shows a project";
    "PATCH" "/projects/{project}", Project(Action::UpdateProject), projects::change_project(ProjectPatch) -> ok ProjectShown, "Changes the settings of a project";
    step_up "DELETE" "/projects/{project}", Project(Action::DeleteProject), projects::delete_project() -> done, "Deletes an empty project";
    "GET" "/projects/{project}/-/fallback", Project(Action::ReadProject), fallbacks::fallback() -> ok Fallback, "Shows which registry a project replaces";
    step_up "PUT" "/projects/{project}/-/fallback", ADMINISTER, fallbacks::set_fallback(NewFallback) -> ok Fallback, "Says which registry a project replaces: what is missing is read there";
    "PATCH" "/projects/{project}/-/fallback", Project(Action::UpdateProject), fallbacks::extend_fallback(MoreDays) -> ok Fallback, "Reads it some days longer";
    "DELETE" "/projects/{project}/-/fallback", Project(Action::UpdateProject), fallbacks::end_fallback() -> done, "Reads it no longer";
    "GET" "/projects/{project}/-/fallback/uses", Project(Action::ReadAudit), fallbacks::fallback_uses() -> ok Items<UseShown>, "Lists who still depends on it";
    "GET" "/projects/{project}/-/members", Project(Action::ReadMembers), projects::members() -> ok Items<Member>, "Lists who has a role in a project";
    step_up "PUT" "/projects/{project}/-/members/{principal}/{role}", Project(Action::ManageMembers), projects::add_member() -> done, "Gives a role in a project";
    step_up "DELETE" "/projects/{project}/-/members/{principal}/{role}", Project(Action::ManageMembers), projects::remove_member() -> done, "Takes a role in a project away";
    "GET" "/projects/{project}/-/robots", Project(Action::ManageRobots), projects::robots() -> ok Items<Robot>, "Lists the robots of a project";
    step_up "POST" "/projects/{project}/-/robots", Project(Action::ManageRobots), projects::create_robot(NewRobot) -> created Shown<Robot>, "Makes a robot of a project";
    "GET" "/projects/{project}/-/robots/{robot}", Project(Action::ManageRobots), projects::robot() -> ok Robot, "Shows a robot of a project";
    step_up "PATCH" "/projects/{project}/-/robots/{robot}", Project(Action::ManageRobots), projects::change_robot(RobotPatch) -> ok Robot, "Changes a robot of a project";
    "DELETE" "/projects/{project}/-/robots/{robot}", Project(Action::ManageRobots), projects::delete_robot() -> done, "Deletes a robot of a project";
    step_up "POST" "/projects/{project}/-/robots/{robot}/rotate", Project(Action::ManageRobots), projects::rotate_robot(optional Rotation) -> ok Shown<Robot>, "Gives a robot of a project a new secret";
}

/// What stands in the path at the names in braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) project: Option<ProjectName>,
    named: HashMap<&'static str, String>,
}

impl Params {
    /// The text at a name; empty where the route has no such name.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.named.get(name).map_or("", String::as_str)
    }
}

/// Finds the route of a request. `path` is what follows `/api/v1`, as it was sent.
pub(crate) fn find(method: &str, path: &str) -> Result<(&'static Route, Params), Problem> {
    let parts: Option<Vec<String>> = path.strip_prefix('/').unwrap_or(path).split('/').map(decode).collect();
    let parts = parts.ok_or_else(unknown)?;
    let mut methods = Vec::new();
    for route in ROUTES {
        let Some(params) = fit(route.path, &parts)? else { continue };
        if route.method == method {
            return Ok((route, params));
        }
        methods.push(route.method);
    }
    if methods.is_empty() { Err(unknown()) } else { Err(Problem::method(&methods)) }
}

fn decode(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn unknown() -> Problem {
    Problem::unknown("the administration API has nothing at this path: see docs/admin-api.md")
}

/// Holds a path against the one of a route.
fn fit(template: &'static str, parts: &[String]) -> Result<Option<Params>, Problem> {
    let mut params = Params::default();
    let mut rest = parts;
    let mut project = None;
    for wanted in template.split('/').skip(1) {
        let name = wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        let taken = match name {
            // A project has any number of parts: up to the dash, which is none of them, or to the end.
            Some("project") => rest.iter().position(|part| part == "-").unwrap_or(rest.len()),
            _ => 1,
        };
        if taken == 0 || taken > rest.len() {
            return Ok(None);
        }
        let (these, others) = rest.split_at(taken);
        rest = others;
        match name {
            Some("project") => project = Some(these.join("/")),
            Some(name) => {
                params.named.insert(name, these.concat());
            }
            None if these.concat() == wanted => {}
            None => return Ok(None),
        }
    }
    if !rest.is_empty() {
        return Ok(None);
    }
    params.project =
        project.map(|name| name.parse()).transpose().map_err(|error| Problem::invalid(&error))?;
    Ok(Some(params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_route_is_found() {
        let check = |line: &str, expect: &str, project: Option<&str>| {
            let (method, path) = line.split_once(' ').unwrap();
            let (route, params) = find(method, path).unwrap_or_else(|_| panic!("{line}"));
            assert_eq!(
                (route.name, params.project.as_ref().map(ProjectName::as_str)),
                (expect, project),
                "{line}"
            );
        };
        check("GET /users", "users", None);
        check("DELETE /users/ann/tokens/x", "delete_token", None);
        check("PUT /projects/team", "create_project", Some("team"));
        check("GET /projects/team/pay", "project", Some("team/pay"));
        check("GET /projects/team/members", "project", Some("team/members"));
        check("GET /projects/team/pay/-/members", "members", Some("team/pay"));
        check("POST /projects/team/-/robots/ci/rotate", "rotate_robot", Some("team"));
        let (_, params) = find("PUT", "/groups/cn%3Dops%2Fx/members/ann%40b").unwrap();
        assert_eq!((params.get("group"), params.get("user")), ("cn=ops/x", "ann@b"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let check = |line: &str, status: u16| {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(
                find(method, path).err().map(|problem| problem.status.as_u16()),
                Some(status),
                "{line}"
            );
        };
        check("GET /", 404);
        check("GET /nothing", 404);
        check("GET /users/ann/", 404);
        check("GET /users//", 404);
        check("DELETE /users", 405);
        check("PATCH /gc", 405);
        check("GET /projects/Team", 400);
        check("GET /projects/a%2Fb%2F..", 400);
        check("GET /projects/-/members", 404);
        check("GET /projects/a/-/b/-/members", 404);
        check("GET /users/%ff", 404);
    }

    #[test]
    fn what_cannot_be_undone_asks_for_a_second_factor_once_more() {
        let asking = |ask: SecondFactor| -> Vec<_> {
            let routes = ROUTES.iter().filter(|route| route.second_factor == ask);
            routes.map(|route| (route.method, route.path)).collect()
        };
        let once_more = asking(SecondFactor::StepUp);
        for (method, path) in ROUTES.iter().map(|route| (route.method, route.path)) {
            let about = ["/users/{user}", "/groups/", "/roles/", "/members/{"];
            let changes = about.iter().any(|about| path.contains(about)) && method != "GET";
            let robots = path.contains("/robots") && matches!(method, "POST" | "PATCH");
            let expect = (changes && !path.ends_with("{token}"))
                || robots
                || (method, path) == ("DELETE", "/projects/{project}")
                // Nothing stands in the way of its end.
                || (method, path) == ("PUT", "/upstreams/{upstream}/outage")
                // It hands out what a credential of the house may read.
                || (method, path) == ("PUT", "/projects/{project}/-/fallback");
            assert_eq!(once_more.contains(&(method, path)), expect, "{method} {path}");
        }
        // Whoever must set one up first can do nothing else.
        let own = |path: &str| path.starts_with("/me") || path == "/session";
        assert!(asking(SecondFactor::Enrolment).iter().all(|(_, path)| own(path)));
        assert!(!asking(SecondFactor::Enrolment).contains(&("POST", "/me/tokens")));
    }

    #[test]
    fn names_are_filled_in_at_their_own_place() {
        for route in ROUTES {
            let path = route.path.replace("{project}", "a/b");
            let path =
                path.split('/').map(|part| part.trim_matches(['{', '}'])).collect::<Vec<_>>().join("/");
            let (found, _) = find(route.method, &path).unwrap_or_else(|_| panic!("{}", route.path));
            assert_eq!(found.path, route.path);
        }
    }

    proptest! {
        #[test]
        fn no_path_panics(path in "(/|/-|/projects|/users|/members|/[a-z%2f.]{0,6}){0,6}") {
            for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
                let _outcome = find(method, &path);
            }
        }
    }
}
