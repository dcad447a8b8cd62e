//! The matrix written out by hand, for what lies in the private project `closed`: a `+` for who may.
//!
//! An end-point or a route that is not in here fails the tests: whoever adds one says here who may use it.

/// Who asks, in the order of the marks.
pub const COLUMNS: &[&str] = &[
    "anonymous",
    "nobody",
    "guest-of-closed",
    "developer-of-closed",
    "maintainer-of-closed",
    "project-admin-of-closed",
    "auditor-of-closed",
    "system-admin-of-closed",
    "guest-everywhere",
    "developer-everywhere",
    "maintainer-everywhere",
    "project-admin-everywhere",
    "auditor-everywhere",
    "system-admin-everywhere",
    "robot-of-closed",
    "token-for-inner",
];

/// The registry's end-points.
pub const OPERATIONS: &[(&str, &str)] = &[
    ("version", "-+ ++++++ ++++++ ++"),
    ("catalog", "++ ++++++ ++++++ ++"),
    ("tags", "-- ++++-+ ++++-+ +-"),
    ("manifest_get", "-- ++++-+ ++++-+ +-"),
    ("manifest_put", "-- -+++-+ -+++-+ --"),
    ("tag_delete", "-- --++-+ --++-+ --"),
    ("manifest_delete", "-- --++-+ --++-+ --"),
    ("blob_get", "-- ++++-+ ++++-+ +-"),
    ("blob_delete", "-- --++-+ --++-+ --"),
    ("upload_start", "-- -+++-+ -+++-+ --"),
    ("upload_status", "-- -+++-+ -+++-+ --"),
    ("upload_chunk", "-- -+++-+ -+++-+ --"),
    ("upload_finish", "-- -+++-+ -+++-+ --"),
    ("upload_cancel", "-- -+++-+ -+++-+ --"),
    ("referrers", "-- ++++-+ ++++-+ +-"),
];

/// The routes of the administration API.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET /openapi.json", "++ ++++++ ++++++ ++"),
    ("GET /docs", "++ ++++++ ++++++ ++"),
    ("POST /gc", "-- ------ -----+ --"),
    ("POST /check", "-- ------ -----+ --"),
    ("POST /rebuild", "-- ------ -----+ --"),
    ("GET /upstreams", "-- ------ -----+ --"),
    ("PUT /upstreams/{upstream}/outage", "-- ------ -----+ --"),
    ("DELETE /upstreams/{upstream}/outage", "-- ------ -----+ --"),
    ("GET /audit", "-- ------ --++++ --"),
    ("POST /audit/verify", "-- ------ --++++ --"),
    ("GET /projects/{project}/-/audit", "-- --++++ --++++ --"),
    ("POST /session", "++ ++++++ ++++++ ++"),
    ("DELETE /session", "-+ ++++++ ++++++ ++"),
    ("POST /me/totp", "-+ ++++++ ++++++ ++"),
    ("POST /me/totp/confirm", "-+ ++++++ ++++++ ++"),
    ("POST /me/totp/recovery-codes", "-+ ++++++ ++++++ ++"),
    ("DELETE /me/totp", "-+ ++++++ ++++++ ++"),
    ("GET /me/passkeys", "-+ ++++++ ++++++ ++"),
    ("DELETE /me/passkeys/{passkey}", "-+ ++++++ ++++++ ++"),
    ("DELETE /users/{user}/totp", "-- ------ -----+ --"),
    ("GET /me", "-+ ++++++ ++++++ ++"),
    ("PUT /password", "++ ++++++ ++++++ ++"),
    ("GET /me/tokens", "-+ ++++++ ++++++ ++"),
    ("POST /me/tokens", "-+ ++++++ ++++++ ++"),
    ("DELETE /me/tokens/{token}", "-+ ++++++ ++++++ ++"),
    ("GET /users", "-- ------ -----+ --"),
    ("POST /users", "-- ------ -----+ --"),
    ("GET /users/{user}", "-- ------ -----+ --"),
    ("PATCH /users/{user}", "-- ------ -----+ --"),
    ("DELETE /users/{user}", "-- ------ -----+ --"),
    ("POST /users/{user}/reset-password", "-- ------ -----+ --"),
    ("GET /users/{user}/tokens", "-- ------ -----+ --"),
    ("DELETE /users/{user}/tokens/{token}", "-- ------ -----+ --"),
    ("GET /groups", "-- ------ -----+ --"),
    ("PUT /groups/{group}", "-- ------ -----+ --"),
    ("DELETE /groups/{group}", "-- ------ -----+ --"),
    ("GET /groups/{group}/members", "-- ------ -----+ --"),
    ("PUT /groups/{group}/members/{user}", "-- ------ -----+ --"),
    ("DELETE /groups/{group}/members/{user}", "-- ------ -----+ --"),
    ("GET /roles", "-+ ++++++ ++++++ ++"),
    ("PUT /roles/{role}", "-- ------ -----+ --"),
    ("DELETE /roles/{role}", "-- ------ -----+ --"),
    ("GET /members", "-- ------ --++++ --"),
    ("PUT /members/{principal}/{role}", "-- ------ ---+-+ --"),
    ("DELETE /members/{principal}/{role}", "-- ------ ---+-+ --"),
    ("GET /robots", "-- ------ ---+-+ --"),
    ("POST /robots", "-- ------ ---+-+ --"),
    ("GET /robots/{robot}", "-- ------ ---+-+ --"),
    ("PATCH /robots/{robot}", "-- ------ ---+-+ --"),
    ("DELETE /robots/{robot}", "-- ------ ---+-+ --"),
    ("POST /robots/{robot}/rotate", "-- ------ ---+-+ --"),
    ("GET /projects", "-+ ++++++ ++++++ ++"),
    ("PUT /projects/{project}", "-- ------ ---+-+ --"),
    ("GET /projects/{project}", "-- ++++++ ++++++ --"),
    ("PATCH /projects/{project}", "-- ---+-+ ---+-+ --"),
    ("DELETE /projects/{project}", "-- ---+-+ ---+-+ --"),
    ("GET /projects/{project}/-/fallback", "-- ++++++ ++++++ --"),
    ("PUT /projects/{project}/-/fallback", "-- ------ -----+ --"),
    ("PATCH /projects/{project}/-/fallback", "-- ---+-+ ---+-+ --"),
    ("DELETE /projects/{project}/-/fallback", "-- ---+-+ ---+-+ --"),
    ("GET /projects/{project}/-/fallback/uses", "-- --++++ --++++ --"),
    ("GET /projects/{project}/-/members", "-- --++++ --++++ --"),
    ("PUT /projects/{project}/-/members/{principal}/{role}", "-- ---+-+ ---+-+ --"),
    ("DELETE /projects/{project}/-/members/{principal}/{role}", "-- ---+-+ ---+-+ --"),
    ("GET /projects/{project}/-/robots", "-- ---+-+ ---+-+ --"),
    ("POST /projects/{project}/-/robots", "-- ---+-+ ---+-+ --"),
    ("GET /projects/{project}/-/robots/{robot}", "-- ---+-+ ---+-+ --"),
    ("PATCH /projects/{project}/-/robots/{robot}", "-- ---+-+ ---+-+ --"),
    ("DELETE /projects/{project}/-/robots/{robot}", "-- ---+-+ ---+-+ --"),
    ("POST /projects/{project}/-/robots/{robot}/rotate", "-- ---+-+ ---+-+ --"),
];

/// Whether each of the columns may.
#[track_caller]
pub fn of(table: &[(&str, &str)], name: &str) -> Vec<bool> {
    let row = table.iter().find(|(row, _)| *row == name);
    let (_, marks) = row.unwrap_or_else(|| panic!("nobody has said who may use {name}: say so in golden.rs"));
    let marks: Vec<bool> = marks.chars().filter(|mark| *mark != ' ').map(|mark| mark == '+').collect();
    assert_eq!(marks.len(), COLUMNS.len(), "{name}");
    marks
}
