//! The topics: what is said on each, and how what was said long ago is read today.

pub mod integration;
pub mod progress;
pub mod vocabulary;

pub use integration::INTEGRATION;
pub use progress::PROGRESS;
pub use vocabulary::VOCABULARY;
