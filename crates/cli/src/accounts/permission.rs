//! Permissions, as they are given on the command line and shown in tables: `team=pull,push`, `*=pull`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::time::Duration;

use super::print::{Column, cell};
use crate::args::accounts::Allow;

/// Permissions, a line each.
pub(super) const PERMISSIONS: &[Column] =
    &[Column("project", |item| cell(&item["project"])), Column("actions", |item| cell(&item["actions"]))];

/// A permission for such a table.
pub(super) fn row(permission: &Value) -> Value {
    json!({"project": place(permission), "actions": permission["actions"]})
}

fn place(permission: &Value) -> &Value {
    static EVERYWHERE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!("*"));
    if permission["project"].is_null() { &EVERYWHERE } else { &permission["project"] }
}

/// Several permissions in one cell.
pub(super) fn together(permissions: &Value) -> String {
    let Some(permissions) = permissions.as_array() else { return "all".into() };
    let each = permissions.iter().map(|one| format!("{}={}", cell(place(one)), cell(&one["actions"])));
    each.collect::<Vec<_>>().join(" ")
}

/// Permissions as the API takes them; nothing where none is named.
pub(super) fn value(allow: &[Allow]) -> Value {
    if allow.is_empty() {
        return Value::Null;
    }
    let one = |allow: &Allow| match &allow.project {
        Some(project) => json!({"project": project.as_str(), "actions": allow.actions}),
        None => json!({"actions": allow.actions}),
    };
    allow.iter().map(one).collect()
}

/// When something ends that lasts so long from now on; nothing where it is not said.
pub(super) fn end(lasts: Option<Duration>, now: DateTime<Utc>) -> Value {
    let end = lasts.and_then(|lasts| now.checked_add_signed(chrono::TimeDelta::from_std(lasts).ok()?));
    end.map_or(Value::Null, |end| end.to_rfc3339_opts(SecondsFormat::Secs, true).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_go_and_come() {
        let allow = [
            Allow { project: Some("team".parse().unwrap()), actions: vec!["pull".into(), "push".into()] },
            Allow { project: None, actions: vec!["pull".into()] },
        ];
        let sent = value(&allow);
        assert_eq!(sent, json!([{"project": "team", "actions": ["pull", "push"]}, {"actions": ["pull"]}]));
        assert_eq!(together(&sent), "team=pull,push *=pull");
        assert_eq!(value(&[]), Value::Null);
        assert_eq!(together(&Value::Null), "all");
    }

    #[test]
    fn ends_are_moments() {
        let now = DateTime::from_timestamp(1_700_000_000, 5).unwrap();
        let check = |seconds: Option<u64>, expect: Value| {
            assert_eq!(end(seconds.map(Duration::from_secs), now), expect);
        };
        check(None, Value::Null);
        check(Some(90 * 86_400), json!("2024-02-12T22:13:20Z"));
        check(Some(100 * 366 * 86_400), json!("2124-01-29T22:13:20Z"));
    }
}
