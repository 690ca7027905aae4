//! The sample: how people learn English words. All that a team writes, and nothing else.
//!
//! A topic is a folder of [`topics`]: what is said on it, and how what was said long ago is read today. A read model is a
//! folder of its own (its code, its `schema.sql`, its statements). Both have a line in [`program`].

pub mod topics;

pub mod learner_journeys;
pub mod learner_progress;
pub mod learning_time;
pub mod user_directory;
pub mod vocabulary;

use fleet::{Builder, Fleet, Origin};

use learner_journeys::LearnerJourneys;
use learner_progress::LearnerProgress;
use learning_time::LearningTime;
use topics::{INTEGRATION, PROGRESS, VOCABULARY};
use user_directory::UserDirectory;
use vocabulary::Vocabulary;

/// Twenty thousand requests, to see something move. In the binary, so that it needs no file beside it.
static HISTORY: &[u8] = include_bytes!("../sample/history.ndjson.gz");

/// What the program is made of; `main` runs it, tests look into it.
pub fn program() -> Builder {
    Fleet::builder()
        .topic(&VOCABULARY)
        .topic(&PROGRESS)
        .topic(&INTEGRATION)
        .projection::<Vocabulary>()
        .projection::<LearnerProgress>()
        .projection::<LearnerJourneys>()
        .projection::<UserDirectory>()
        .projection::<LearningTime>()
        .sample(HISTORY)
        .origin(Origin { revision: option_env!("FLEET_REVISION"), built_at: option_env!("FLEET_BUILT_AT") })
}
