//! All projections there are: one line each.

use events::Topic;

use crate::erased::Of;
use crate::learner_journeys::LearnerJourneys;
use crate::learner_progress::LearnerProgress;
use crate::user_directory::UserDirectory;
use crate::vocabulary::Vocabulary;
use crate::{AnyProjection, Projection};

static ALL: [&dyn AnyProjection; 4] =
    [&Of::<Vocabulary>::NEW, &Of::<LearnerProgress>::NEW, &Of::<LearnerJourneys>::NEW, &Of::<UserDirectory>::NEW];

pub fn all() -> &'static [&'static dyn AnyProjection] {
    &ALL
}

pub fn named(name: &str) -> Option<&'static dyn AnyProjection> {
    ALL.into_iter().find(|projection| projection.name() == name)
}

/// The projections that listen to `topic`.
pub fn of_topic(topic: &Topic) -> impl Iterator<Item = &'static dyn AnyProjection> {
    ALL.into_iter().filter(move |projection| projection.topic() == topic)
}

/// The line of a projection of the author's own, for a registry elsewhere (tests, examples).
pub fn line<P: Projection>() -> &'static dyn AnyProjection {
    &Of::<P>::NEW
}
