//! The oracle itself, judged by rows that somebody else computed, and by bugs that it must not overlook.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use rand::Rng;
use rand::seq::IteratorRandom;

use super::{Difference, Event, Held, Oracle, TABLES, Tables, first_difference};
use crate::harness::client::SAMPLE;
use crate::sample::seeded;

fn lines(compressed: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(GzDecoder::new(compressed)).lines().map(Result::unwrap)
}

fn sample() -> Vec<Event> {
    lines(SAMPLE).flat_map(|line| Event::of_append(&line)).collect()
}

fn expected() -> Tables {
    let mut tables = Tables::default();
    for table in &TABLES {
        let file = format!("../tests/expected/{}.ndjson.gz", table.name);
        let file = std::fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        lines(file).for_each(|row| tables.insert_json(table.name, &row));
    }
    tables
}

#[test]
fn the_oracle_says_of_the_sample_what_its_expected_rows_say() {
    let (expected, found) = (expected(), Oracle::fold(sample()));
    assert_eq!(first_difference(&expected, &found).map(|difference| difference.to_string()), None);
    assert!(found.0.len() == TABLES.len() && found.0.values().all(|rows| !rows.is_empty()));
}

#[test]
fn a_lost_a_doubled_or_a_swapped_event_of_any_kind_is_found() {
    let events = sample();
    let expected = expected();
    let mut last_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        last_of.insert(&event.aggregate_id, index);
    }
    let is = |index: usize, name: &str| events[index].event_type == name;
    let mut rng = seeded();

    // The last event of its aggregate, so that nothing after it wipes its trace away.
    let lost = [
        "EntryCreated",
        "FieldUpdated",
        "AIGenerationCompleted",
        "AIGenerationFailed",
        "UpdateConflicted",
        "ItemPublished",
        "ItemDeleted",
        "SessionCompleted",
        "SessionAbandoned",
        "UserSignedUp",
        "UserProfileUpdated",
        "UserEmailUpdated",
        "LearningGoalSet",
        "UserDeleted",
    ];
    for name in lost {
        let candidates = last_of.values().copied().filter(|index| is(*index, name));
        let index = candidates.choose(&mut rng).unwrap_or_else(|| panic!("no aggregate ends with {name}"));
        let found = fold_without(&events, index);
        assert!(first_difference(&expected, &found).is_some(), "{name} number {index} was lost and nobody noticed");
    }
    // What counts or is written down, anywhere.
    for name in ["CorrectnessJudged", "AIGenerationCompleted"] {
        let index = (0..events.len()).filter(|index| is(*index, name)).choose(&mut rng).unwrap();
        let found = fold_without(&events, index);
        assert!(first_difference(&expected, &found).is_some(), "{name} number {index} was lost and nobody noticed");
    }
    for name in ["SessionStarted", "CorrectnessJudged", "SessionCompleted", "SessionAbandoned", "AIGenerationCompleted"]
    {
        let index = (0..events.len()).filter(|index| is(*index, name)).choose(&mut rng).unwrap();
        let twice = events[..=index].iter().chain(&events[index..]).cloned();
        let found = Oracle::fold(twice);
        assert!(first_difference(&expected, &found).is_some(), "{name} number {index} was doubled and nobody noticed");
    }
    // Two neighbours in one aggregate.
    for (earlier, later) in [("CorrectnessJudged", "SessionCompleted"), ("FieldUpdated", "ItemPublished")] {
        let ends = last_of.values().copied().filter(|index| is(*index, later));
        let before = |end: usize| (0..end).rev().find(|index| events[*index].aggregate_id == events[end].aggregate_id);
        let pairs = ends.filter_map(|end| Some((before(end).filter(|before| is(*before, earlier))?, end)));
        let (one, other) = pairs.choose(&mut rng).unwrap();
        let mut swapped = events.clone();
        swapped.swap(one, other);
        let found = Oracle::fold(swapped);
        assert!(first_difference(&expected, &found).is_some(), "{one} and {other} were swapped and nobody noticed");
    }
}

fn fold_without(events: &[Event], index: usize) -> Tables {
    Oracle::fold(events[..index].iter().chain(&events[index + 1..]).cloned())
}

#[test]
fn a_difference_in_any_column_is_named() {
    let expected = expected();
    let mut rng = seeded();
    for table in &TABLES {
        for column in table.columns.iter().filter(|column| !table.key.contains(column)) {
            let mut found = expected.clone();
            let rows = found.0.get_mut(table.name).unwrap();
            let chosen = rng.random_range(0..rows.len());
            let (key, row) = rows.iter_mut().nth(chosen).unwrap();
            let (key, value) = (key.clone(), row.insert(column, "\"something else\"".to_owned()).unwrap());
            let named = Difference {
                table: table.name,
                key,
                column: Some(column),
                expected: value,
                found: "\"something else\"".to_owned(),
            };
            assert_eq!(first_difference(&expected, &found), Some(named));
        }
        let mut found = expected.clone();
        let (key, _) = found.0.get_mut(table.name).unwrap().pop_last().unwrap();
        for difference in [first_difference(&expected, &found), first_difference(&found, &expected)] {
            let difference = difference.expect("a row is missing");
            assert_eq!((difference.table, difference.column, &difference.key), (table.name, None, &key));
        }
    }
}

#[test]
fn what_is_held_is_folded_to_its_version_in_that_projection_only() {
    let events = sample();
    let all = Oracle::fold(events.clone());
    let judged = events.iter().rfind(|event| event.event_type == "CorrectnessJudged").unwrap();
    let session = judged.aggregate_id.clone();
    let mut held = Held::default();
    held.after("learner_journeys", &session, judged.event_version - 1);

    let mut oracle = Oracle::holding(held);
    events.iter().cloned().for_each(|event| oracle.apply(event));
    let some = oracle.tables();
    for (table, rows) in &some.0 {
        let differs = rows != &all.0[table];
        assert_eq!(differs, *table == "learner_journeys", "{table}");
    }
    let difference = first_difference(&all, &some).unwrap();
    assert!(difference.key.contains(&session), "{difference}");
    // One row has fewer steps, no other is touched.
    let steps = |tables: &Tables| tables.0["learner_journeys"][&difference.key]["steps"].matches(',').count() as i64;
    assert_eq!(steps(&some), judged.event_version - 2);
    assert!(steps(&all) > steps(&some));
}

#[test]
fn numbers_and_times_are_compared_digit_by_digit() {
    let item = "0193aa39-6a4c-7d2e-8a8e-3f1d5c0d2b11";
    let line = |value: &str, time: &str| {
        format!(
            r#"{{"aggregate_id":"{item}","aggregate_type":"VocabularyItem","expected_version":0,"events":[
            {{"event_id":"{item}","event_type":"ItemCreated","metadata":{{}},"occurred_at":"{time}",
              "event_data":{{"item_id":"{item}","entry_id":"e","spelling":"s","disambiguation":null,"created_by":"u"}}}},
            {{"event_id":"{item}","event_type":"ItemUpdated","metadata":{{}},"occurred_at":"{time}",
              "event_data":{{"item_id":"{item}","field_name":"f","old_value":null,"new_value":{value}}}}}]}}"#
        )
        .replace('\n', "")
    };
    let fold = |value, time| Oracle::fold(Event::of_append(&line(value, time)));
    let row = |value, time| fold(value, time).0["vocabulary_items"].first_key_value().unwrap().1.clone();

    let exact = row(r#"{"b": [1.10, 123456789012345678901234567890], "a": "\u00e9"}"#, "2026-01-05T06:34:32.120Z");
    assert_eq!(exact["fields"], r#"{"f":{"a":"é","b":[1.10,123456789012345678901234567890]}}"#);
    assert_eq!(exact["created_at"], r#""2026-01-05T06:34:32.12+00:00""#);
    assert_eq!(exact["version"], "2");
    assert_eq!(row("null", "2026-01-05T08:34:32+02:00")["fields"], "{}");
    assert_eq!(row("null", "2026-01-05T08:34:32+02:00")["created_at"], r#""2026-01-05T06:34:32+00:00""#);
}
