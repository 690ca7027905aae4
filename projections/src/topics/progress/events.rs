//! The events of `progress-events`, in their newest shape.

use fleet::uuid::Uuid;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SessionStarted {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub item_count: i32,
    pub strategy: String,
}

/// It carries no user: that is the session's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CorrectnessJudged {
    pub session_id: Uuid,
    pub item_id: Uuid,
    pub judgment: Judgment,
    #[serde(deserialize_with = "milliseconds")]
    pub response_time_ms: i64,
}

/// Bounded, so that no sum of them overflows, whichever batch it is summed in.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let read = i64::deserialize(deserializer)?;
    if read.unsigned_abs() > 1 << 40 {
        return Err(D::Error::invalid_value(Unexpected::Signed(read), &"milliseconds of less than 35 years"));
    }
    Ok(read)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgment {
    AutoConfirmed,
    UserConfirmedCorrect,
    UserConfirmedIncorrect,
}

impl Judgment {
    pub fn is_correct(self) -> bool {
        self != Self::UserConfirmedIncorrect
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AutoConfirmed => "auto_confirmed",
            Self::UserConfirmedCorrect => "user_confirmed_correct",
            Self::UserConfirmedIncorrect => "user_confirmed_incorrect",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SessionCompleted {
    pub session_id: Uuid,
    pub user_id: Uuid,
    pub duration_seconds: i32,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SessionAbandoned {
    pub session_id: Uuid,
    pub reason: String,
}
