//! Room to go on in.
//!
//! Deleting takes room before it gives any: events, history, the database's log. So what adds is refused while there
//! still is some.

/// What is known of the room on the storage.
pub trait FreeSpace: Send + Sync {
    /// Whether so little is left that nothing more should be added. Asked often, and answers without waiting.
    fn is_scarce(&self) -> bool;

    /// How many bytes are free, where that is known. Asked less often.
    fn free(&self) -> u64 {
        u64::MAX
    }
}

/// A storage that is never short of room, or says so only by its errors.
pub(crate) struct Boundless;

impl FreeSpace for Boundless {
    fn is_scarce(&self) -> bool {
        false
    }
}
