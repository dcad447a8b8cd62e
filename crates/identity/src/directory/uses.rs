//! When tokens and robots were last used: noted in memory, by the day, and written by a job.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use meta::{Batch, Origin, Timestamp, Write};

use super::Directory;
use crate::IdentityError;

/// How many notes may wait to be written.
const NOTES_MAX: usize = 100_000;

/// The notes that are not written yet, and the days that are.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<String, Note>>);

#[derive(Clone, Copy)]
struct Note {
    day: i64,
    written: bool,
}

fn setting(name: &str) -> String {
    format!("used/{name}")
}

impl Directory {
    /// Notes that a token or robot was used.
    pub(crate) fn note_use(&self, name: &str, now: Timestamp) {
        let mut notes = self.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now.day();
        let is_noted = notes.get(name).is_some_and(|note| note.day == day);
        // Where there are too many names at once, some are noted another time.
        if !is_noted && notes.len() < NOTES_MAX {
            notes.insert(name.to_owned(), Note { day, written: false });
        }
    }

    /// The day on which a token or robot was last used.
    pub(crate) async fn last_used(&self, name: &str) -> Result<Option<String>, IdentityError> {
        let noted = self.uses.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|note| note.day);
        match noted {
            Some(day) => Ok(Some(date(day))),
            None => Ok(self.meta.setting(&setting(name)).await?),
        }
    }

    /// Writes the notes.
    pub async fn write_uses(&self) -> Result<(), IdentityError> {
        let unwritten: Vec<(String, i64)> = {
            let notes = self.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
            notes
                .iter()
                .filter(|(_, note)| !note.written)
                .map(|(name, note)| (name.clone(), note.day))
                .collect()
        };
        for some in unwritten.chunks(500) {
            let writes =
                some.iter().map(|(name, day)| Write::Setting { name: setting(name), value: date(*day) });
            let batch = Batch { origin: Origin::default(), conditions: Vec::new(), writes: writes.collect() };
            self.meta.commit(batch).await?;
            let mut notes = self.uses.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, day) in some {
                if let Some(note) = notes.get_mut(name).filter(|note| note.day == *day) {
                    note.written = true;
                }
            }
        }
        let today = self.now().day();
        self.uses
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, note| note.day == today || !note.written);
        Ok(())
    }
}

/// The date of a day since 1970.
fn date(day: i64) -> String {
    crate::time::date(Timestamp::from_micros(day.saturating_mul(86_400_000_000)))
}
