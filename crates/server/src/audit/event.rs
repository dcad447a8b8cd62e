//! What an event of the metadata is in the words of the journal.

use std::borrow::Cow;

use meta::{EntryKind, Event, EventKind};

/// The project that an event of an entry is about, where that is one.
pub(super) fn project_of(event: &Event) -> &str {
    match &event.entry {
        Some((EntryKind::Project, name)) => name.as_str(),
        Some((EntryKind::Binding, name)) => {
            name.as_str().split_once(' ').map_or("", |(place, _)| if place == "*" { "" } else { place })
        }
        Some((EntryKind::Robot, name)) => {
            let robot = name.as_str().strip_prefix("robot$").and_then(|name| name.rsplit_once('+'));
            robot.map_or("", |(project, _)| project)
        }
        _ => "",
    }
}

/// What an event is called in the journal; nothing where it does not belong into it.
pub(super) fn action_of(event: &Event) -> Option<Cow<'static, str>> {
    let changed = |verb: &str| match &event.entry {
        Some((kind, _)) => Cow::Owned(format!("{kind}.{verb}")),
        None => Cow::Borrowed(event.kind.name()),
    };
    let session = event.entry.as_ref().is_some_and(|(kind, _)| *kind == EntryKind::EndedSession);
    let action = match event.kind {
        EventKind::ManifestPushed => Cow::Borrowed("push"),
        EventKind::ManifestDeleted => Cow::Borrowed("artifact.delete"),
        EventKind::TagDeleted => Cow::Borrowed("tag.delete"),
        EventKind::EntryCreated if session => Cow::Borrowed("sign-out"),
        EventKind::EntryDropped if session => return None,
        EventKind::EntryCreated => changed("create"),
        EventKind::EntryChanged => changed("change"),
        EventKind::EntryDropped => changed("delete"),
        EventKind::RepositoryCreated | EventKind::TagSet | EventKind::BlobDeleted | EventKind::BlobHealed => {
            Cow::Borrowed(event.kind.name())
        }
    };
    Some(action)
}
