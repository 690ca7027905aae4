//! Old data in the shape of today. Done once, at the reading boundary; nothing behind it knows the past.

use crate::Object;

/// One step: the data of schema version n, turned into that of n + 1.
pub type Step = fn(Object) -> Object;

/// The steps of one event, the first of them from schema 1 to 2.
///
/// ```
/// use events::{Object, Upcast, upcast};
/// use serde_json::json;
///
/// // What was a `name` in schema 1 is a `first_name` in schema 2, and somebody has no last name yet.
/// static SIGNED_UP: Upcast = Upcast(&[|mut data| {
///     upcast::rename(&mut data, "name", "first_name");
///     data.insert("last_name".to_owned(), json!("").into());
///     data
/// }]);
///
/// assert_eq!(SIGNED_UP.newest(), 2);
/// let old = Object::from([("name".to_owned(), json!("Ada").into())]);
/// let new = SIGNED_UP.apply(old, 1);
/// assert_eq!(new["first_name"], json!("Ada").into());
/// assert_eq!(SIGNED_UP.apply(new.clone(), 2), new);
/// ```
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
