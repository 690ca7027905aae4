//! That histories are what they say, and that the read models hold against them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Cursor;
use std::time::Duration;

use fleet::client;
use fleet::commands::{export, import};
use indicatif::ProgressBar;
use rand::Rng;
use sqlx::Row;

use super::History;
use crate::harness::Fleet;
use crate::oracle;
use crate::sample::seeded;

const ALL: [(&str, u32); 23] = [
    ("EntryCreated", 1),
    ("ItemCreated", 1),
    ("FieldUpdated", 2),
    ("ItemUpdated", 1),
    ("AIGenerationRequested", 1),
    ("AIGenerationCompleted", 1),
    ("AIGenerationFailed", 1),
    ("UpdateConflicted", 1),
    ("ItemPublished", 1),
    ("ItemDeleted", 1),
    ("SessionStarted", 1),
    ("CorrectnessJudged", 1),
    ("SessionCompleted", 1),
    ("SessionAbandoned", 1),
    ("MilestoneAchieved", 1),
    ("UserSignedUp", 1),
    ("UserSignedUp", 2),
    ("UserProfileUpdated", 1),
    ("UserEmailUpdated", 1),
    ("LearningGoalSet", 1),
    ("UserDeleted", 1),
    // Known to nobody.
    ("ItemViewed", 1),
    ("UserTeleported", 1),
];

#[test]
fn a_history_is_valid_and_has_every_kind_of_event() {
    let seed = seeded().random();
    let history = History::of(seed, 10_000);
    assert_eq!(history.events(), 10_000);
    assert_eq!(history.ndjson(), History::of(seed, 10_000).ndjson(), "the seed decides everything");
    assert_ne!(history.ndjson(), History::of(seed + 1, 10_000).ndjson());

    let mut versions: HashMap<_, (i32, &str)> = HashMap::new();
    let (mut ids, mut keys, mut kinds) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    for line in &history.lines {
        let (version, kind) = versions.entry(line.aggregate_id).or_insert((0, &line.aggregate_type));
        assert_eq!(line.expected_version.unwrap().0, *version, "versions have no gaps");
        assert_eq!(*kind, line.aggregate_type);
        assert!(!line.events.is_empty());
        *version += line.events.len() as i32;
        assert!(line.idempotency_key.iter().all(|key| keys.insert(key.clone())));
        for event in &line.events {
            assert!(ids.insert(event.event_id.unwrap()), "ids are unique");
            let metadata: serde_json::Value = serde_json::from_str(event.metadata.get()).unwrap();
            let schema_version = metadata.get("schema_version").map_or(1, |version| version.as_u64().unwrap()) as u32;
            *kinds.entry((event.event_type.as_str(), schema_version)).or_insert(0) += 1;
            *times.entry(event.occurred_at).or_default() += 1;
        }
    }
    assert_eq!(kinds.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from(ALL), "{kinds:?}");
    assert!(times.values().filter(|events| **events > 3).count() > 100, "many things happen at the same time");
    let interleaved = history.lines.windows(2).filter(|two| two[0].aggregate_id != two[1].aggregate_id).count();
    assert!(interleaved > history.lines.len() / 2, "{interleaved} of {}", history.lines.len());
    assert!(
        history
            .lines
            .iter()
            .any(|line| line.events.iter().any(|event| { event.event_data.get().contains(r#""new_value":null"#) }))
    );
}

#[test]
fn a_history_of_any_size_begins_as_the_longer_one_does() {
    let seed = seeded().random();
    for events in [0, 1, 2, 17, 500] {
        let (short, long) = (History::of(seed, events), History::of(seed, 1_000));
        assert_eq!(short.events(), events);
        let whole = short.lines.len().saturating_sub(1);
        for (one, other) in short.lines[..whole].iter().zip(&long.lines) {
            assert_eq!(serde_json::to_string(one).unwrap(), serde_json::to_string(other).unwrap());
        }
    }
}

#[test]
fn a_poisoned_history_says_where_its_poison_is() {
    let seed = seeded().random();
    let clean = History::of(seed, 5_000);
    let history = clean.clone().poison(seed, 0.1);
    let aggregates = history.sizes();
    assert!(history.poisoned.len() * 20 > aggregates.len(), "{} of {}", history.poisoned.len(), aggregates.len());
    let kinds: BTreeSet<_> = history.poisoned.iter().map(|poisoned| poisoned.event_type.as_str()).collect();
    assert!(kinds.len() > 5, "{kinds:?}");
    for poisoned in &history.poisoned {
        assert!(poisoned.version as usize <= aggregates[&poisoned.aggregate_id]);
    }
    let changed = |one: &History, other: &History| -> BTreeSet<_> {
        let events = |history: &History| history.lines.iter().flat_map(|line| line.events.clone()).collect::<Vec<_>>();
        let pairs = events(one).into_iter().zip(events(other));
        let differ = pairs.filter(|(one, other)| one.event_data.get() != other.event_data.get());
        differ.map(|(one, _)| one.event_id.unwrap()).collect()
    };
    let said: BTreeSet<_> = history.poisoned.iter().map(|poisoned| poisoned.event_id).collect();
    assert_eq!(changed(&clean, &history), said);
}

#[tokio::test]
async fn an_export_imported_elsewhere_is_the_same_digit_by_digit() {
    let seed = seeded().random();
    let (here, there) = (Fleet::new().await, Fleet::new().await);
    let (from, to) = (here.event_store().await, there.event_store().await);
    History::of(seed, 2_000).load(&from).await;
    let mut file = Vec::new();
    export::export(&client::EventStore::at(&from.grpc()), &mut file).await.unwrap();
    let to = client::EventStore::at(&to.grpc());
    import::import(&to, Cursor::new(file), &ProgressBar::hidden()).await.unwrap();

    let events = async |fleet: &Fleet| -> Vec<String> {
        // The known size is an upper bound: it depends on how the text was written.
        let sql = "select (to_jsonb(event) - '{created_at, data_bytes}'::text[])::text from events as event order by position";
        sqlx::query_scalar(sql).fetch_all(&fleet.database.pool).await.unwrap()
    };
    let (one, other) = (events(&here).await, events(&there).await);
    assert_eq!((one.len(), other.len()), (2_000, 2_000));
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn the_read_models_of_a_random_history_with_poison_in_it_are_what_it_folds_to() {
    let seed = seeded().random();
    let fleet = Fleet::apart().await;
    let store = fleet.event_store().await;
    let _workers = fleet.workers(&store).await;
    let history = History::of(seed, 5_000).poison(seed, 0.02);
    history.load(&store).await;
    fleet.database.settled(5_000, Duration::from_secs(240)).await;

    let rows = sqlx::query("select projection, aggregate_id, event_version from parked_events")
        .fetch_all(&fleet.database.pool)
        .await
        .unwrap();
    let parked = rows.iter().map(|row| {
        let (projection, aggregate_id): (String, uuid::Uuid) = (row.get("projection"), row.get("aggregate_id"));
        (projection, aggregate_id, i64::from(row.get::<i32, _>("event_version")))
    });
    let poisoned = history.poisoned.iter().flat_map(|poisoned| {
        let at = (poisoned.aggregate_id.0, poisoned.version);
        poisoned.projections.iter().map(move |projection| ((*projection).to_owned(), at.0, at.1))
    });
    assert_eq!(parked.collect::<BTreeSet<_>>(), poisoned.collect());
    oracle::assert_equal_but(&fleet.database.pool, &history.held()).await;

    // A row that should not be there, or is not what it should be, is found.
    let late = history.poisoned.iter().find(|poisoned| poisoned.version > 1).unwrap();
    let mut held = history.held();
    held.after(late.projections[0], late.aggregate_id, 0);
    oracle::holds(&fleet.database.pool, &held).await.expect_err("what came before the poison is applied");
    let sql = "update learner_progress.daily_progress set answers = answers + 1
               where (user_id, date) = (select user_id, date from learner_progress.daily_progress limit 1)";
    sqlx::query(sql).execute(&fleet.database.pool).await.unwrap();
    let difference = oracle::holds(&fleet.database.pool, &history.held()).await.expect_err("one answer too many");
    assert_eq!((difference.table, difference.column), ("daily_progress", Some("answers")), "{difference}");
}
