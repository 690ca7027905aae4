//! Old data in the shape of today. Done once, at the reading boundary; nothing behind it knows the past.

use crate::Object;

/// One step: the data of schema version n, turned into that of n + 1.
pub type Step = fn(Object) -> Object;

/// The steps of one event, the first of them from schema 1 to 2.
pub struct Upcast(pub &'static [Step]);

impl Upcast {
    /// The newest schema version of the event.
    pub fn newest(&self) -> u32 {
        self.0.len() as u32 + 1
    }

    /// Applies what is missing. Newer data than the newest is refused before.
    pub fn apply(&self, data: Object, schema_version: u32) -> Object {
        let done = schema_version.saturating_sub(1) as usize;
        self.0.iter().skip(done).fold(data, |data, step| step(data))
    }
}

/// Gives the value under `old` the name `new`, if there is one.
pub fn rename(data: &mut Object, old: &str, new: &str) {
    if let Some(value) = data.remove(old) {
        data.insert(new.to_owned(), value);
    }
}
