//! Names that a person has misspelt. What nobody has is refused, with what may have been meant: an empty answer would look
//! like good news.

use std::panic::{AssertUnwindSafe, catch_unwind};

use event_store::read;
use events::{Metadata, Payload};
use read_model::{AnyProjection, Catalogue};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Admin, Problem};
use crate::dead_letters::{self, Filter};
use crate::invalid::Invalid;

/// How alike two names are, from 0 to 1, for the one to be meant by the other.
const ALIKE: f64 = 0.5;

/// Longer ones are nobody's.
const LONGEST: usize = 400;

/// Names of what there is that are said at most.
const SAID: usize = 20;

/// The latest events, among whose types the one that was meant is looked for.
const LATEST: i64 = 10_000;

impl Admin {
    /// # Errors
    /// There is none of this name here: which there are.
    pub(super) fn projection(&self, name: &str) -> Result<&'static dyn AnyProjection, String> {
        let names = || self.catalogue.projections().iter().map(|projection| projection.name());
        self.catalogue.projection(name).ok_or_else(|| unknown("projection", name, &names().collect::<Vec<_>>()))
    }

    /// Refuses a filter that can mean nothing. It is at this `place` of the request.
    pub(super) fn check(&self, place: &str, filter: &Filter) -> Result<(), Problem> {
        let checked = filter.check().and_then(|()| topic(&self.catalogue, filter.topic.as_deref()));
        checked.map_err(|Invalid { field, problem }| Problem::invalid(format!("{place}{field}"), problem))
    }

    /// Refuses a filter by which nothing is found, if it names what is not there. What is parked of a projection that has been
    /// removed, or of an event that no read model knows, can be named all the same: it is found.
    pub(super) async fn nothing_found(&self, place: &str, filter: &Filter) -> Result<(), Problem> {
        if let Some(name) = &filter.projection {
            self.projection(name).map_err(|problem| Problem::invalid(format!("{place}projection"), problem))?;
        }
        if let Some(name) = &filter.event_type
            && !self.catalogue.projections().iter().any(|projection| knows(*projection, name))
        {
            let known = read::latest_event_types(&self.pool, LATEST).await?;
            let problem = unknown_type("no read model here knows", name, &known);
            return Err(Problem::invalid(format!("{place}event_type"), problem));
        }
        Ok(())
    }

    /// Read models that the database knows, this program does not have, and nobody has run lately: what is decided about their letters
    /// nobody would do.
    pub(super) async fn nobodys(&self) -> sqlx::Result<Vec<String>> {
        let ours: Vec<_> = self.catalogue.projections().iter().map(|projection| projection.name()).collect();
        sqlx::query_scalar!(
            "select name
             from projections
             where name <> all($1::text[])
             and not exists (
                 select
                 from keepers
                 where keepers.projection = projections.name
                 and keepers.seen_at > clock_timestamp() - interval '30 s'
             )
             order by name",
            &ours as &[&str]
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Refuses to decide about a letter at which nobody would be.
    pub(super) async fn decidable(&self, id: Uuid) -> Result<(), Problem> {
        let letter = dead_letters::get(&self.pool, id).await?;
        match letter.and_then(|letter| letter.projection) {
            Some(name) if self.nobodys().await?.contains(&name) => Err(Problem::conflict(nobodys(&name))),
            _ => Ok(()),
        }
    }

    /// Refuses event types of which `projection` makes nothing, and that have not been appended lately.
    pub(super) async fn check_types<'a>(
        &self,
        projection: &dyn AnyProjection,
        mut types: impl Iterator<Item = &'a String>,
    ) -> Result<(), Problem> {
        let Some(first) = types.find(|name| !knows(projection, name)) else { return Ok(()) };
        let known = read::latest_event_types(&self.pool, LATEST).await?;
        let mut suspects = std::iter::once(first).chain(types.filter(|name| !knows(projection, name)));
        match suspects.find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let problem = unknown_type(&format!("projection {} does not know", projection.name()), name, &known);
                Err(Problem::invalid("selection.event_types", problem))
            }
        }
    }
}

/// Why nothing is decided about the letters of a read model.
pub(super) fn nobodys(name: &str) -> String {
    format!("this program has no {name}, and no worker that runs has it: nobody would do it")
}

/// # Errors
/// It is not in the catalogue, which has all of the program's.
pub(super) fn topic(catalogue: &Catalogue, name: Option<&str>) -> Result<(), Invalid> {
    match name.filter(|name| catalogue.topic(name).is_none()) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<_> = catalogue.topics().iter().map(|topic| topic.name).collect();
            Err(Invalid { field: "topic", problem: unknown("topic", name, &names) })
        }
    }
}

/// Whether a projection makes anything of events of a type. It is asked with an event without data, which it may well refuse
/// if it knows it.
pub fn knows(projection: &dyn AnyProjection, event_type: &str) -> bool {
    let mut aggregate_types = projection.topics().iter().flat_map(|topic| topic.aggregate_types);
    aggregate_types.any(|aggregate_type| {
        let event = Payload {
            aggregate_type: (*aggregate_type).to_owned(),
            event_type: event_type.to_owned(),
            event_data: RawValue::from_string("{}".to_owned()).expect("an object"),
            metadata: Metadata::default(),
        };
        !matches!(catch_unwind(AssertUnwindSafe(|| projection.decodes(&event))), Ok(Ok(false)))
    })
}

/// Adds what may have been meant to what serde says of a word that is not one of its list.
pub(super) fn with_hint(problem: String) -> String {
    let mut words = problem.split('`').skip(1).step_by(2);
    let meant = words.next().filter(|_| problem.contains("unknown ")).and_then(|word| nearest(word, words));
    match meant {
        Some(meant) => format!("{problem}; did you mean {meant}?"),
        None => problem,
    }
}

/// That there is none of that name, what may have been meant, and which there are.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let all = known.iter().take(SAID).copied().collect::<Vec<_>>().join(", ");
    let more = if known.len() > SAID { ", …" } else { "" };
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("there is no {what} {name:?} here; did you mean {meant}? There are {all}{more}"),
        None => format!("there is no {what} {name:?} here, only {all}{more}"),
    }
}

fn unknown_type(who: &str, name: &str, known: &[String]) -> String {
    // A misspelt one may have been appended.
    let others = known.iter().map(String::as_str).filter(|known| *known != name);
    let hint = nearest(name, others).map(|meant| format!("; did you mean {meant}?"));
    format!("{who} an event type {name:?}{}", hint.unwrap_or_default())
}

/// The name that takes the fewest changes, if these are not most of it.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    let alike = |known: &str| strsim::normalized_damerau_levenshtein(&name, &known.to_lowercase());
    let all = known.into_iter().filter(|known| known.len() <= LONGEST).map(|known| (alike(known), known));
    all.filter(|(alike, _)| *alike >= ALIKE).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [&str; 3] = ["customer-events", "payment-events", "delivery-events"];

    #[test]
    fn the_nearest_name_is_meant_if_it_is_near() {
        for (name, meant) in [
            ("customer-event", Some("customer-events")),
            ("Payment-Events", Some("payment-events")),
            ("delievry-events", Some("delivery-events")),
            ("delivery", Some("delivery-events")),
            ("nowhere", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, TOPICS), meant, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), TOPICS), None);
    }

    #[test]
    fn what_there_is_is_said_as_well() {
        let said = unknown("topic", "paymet-events", &TOPICS);
        let expected = "there is no topic \"paymet-events\" here; did you mean payment-events? \
                        There are customer-events, payment-events, delivery-events";
        assert_eq!(said, expected);
        let many: Vec<_> = (0..100).map(|_| "orders").collect();
        assert!(unknown("topic", "nowhere", &many).len() < 300);
    }

    #[test]
    fn a_word_that_is_not_of_a_closed_list_is_hinted_at() {
        let hint = |json| {
            let error = serde_json::from_str::<crate::dead_letters::park::Reason>(json).expect_err(json);
            with_hint(error.to_string())
        };
        assert!(hint(r#""wrong-data""#).ends_with("did you mean wrong_data?"), "{}", hint(r#""wrong-data""#));
        assert!(!hint(r#""bored""#).contains("did you mean"));
        assert!(!hint("1").contains("did you mean"));
    }
}
