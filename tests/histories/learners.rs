//! Users, what they study, and what they are congratulated on.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;
use uuid::Uuid;

use super::values::word;
use super::world::{Aggregate, Happening, World, happening};

#[derive(Clone)]
pub struct User {
    pub aggregate: Aggregate,
    deleted: bool,
}

#[derive(Clone)]
pub struct Session {
    aggregate: Aggregate,
    user: Uuid,
    item_count: u32,
    judged: u32,
    correct: u32,
}

const STRATEGIES: [&str; 4] = ["mixed", "due_for_review", "weak_items_first", "strategy: other"];
const JUDGMENTS: [&str; 3] = ["auto_confirmed", "user_confirmed_correct", "user_confirmed_incorrect"];

impl World {
    pub fn sign_up(&mut self) {
        let mut aggregate = self.aggregate("User");
        let (id, email) = (aggregate.id, self.email());
        let (first, last) = (word(&mut self.rng), word(&mut self.rng));
        let signed_up = if self.rng.random_ratio(1, 3) {
            happening("UserSignedUp", json!({"user_id": id, "email": email, "name": first}))
        } else {
            let data = json!({"user_id": id, "email": email, "first_name": first, "last_name": last});
            Happening { schema_version: 2, ..happening("UserSignedUp", data) }
        };
        self.append(&mut aggregate, [signed_up]);
        self.users.push(User { aggregate, deleted: false });
    }

    pub fn change_user(&mut self) {
        let index = self.favourite(self.users.len());
        let mut user = self.users[index].clone();
        if user.deleted {
            return;
        }
        let id = user.aggregate.id;
        let happened = match self.rng.random_range(0..100) {
            0..35 => happening("LearningGoalSet", json!({"user_id": id, "daily_goal": self.rng.random_range(0..500)})),
            35..60 => {
                let (first, last) = (word(&mut self.rng), word(&mut self.rng));
                happening("UserProfileUpdated", json!({"user_id": id, "first_name": first, "last_name": last}))
            }
            60..85 => happening("UserEmailUpdated", json!({"user_id": id, "email": self.email()})),
            85..90 => happening("UserTeleported", json!({"user_id": id, "to": "Mars"})),
            _ => {
                user.deleted = true;
                happening("UserDeleted", json!({"user_id": id}))
            }
        };
        self.append(&mut user.aggregate, [happened]);
        self.users[index] = user;
    }

    pub fn start_session(&mut self) {
        let mut aggregate = self.aggregate("LearningSession");
        let user = self.favourite(self.users.len());
        let user = self.users[user].aggregate.id;
        let item_count = self.rng.random_range(0..25);
        let started = self.started(&aggregate, user, item_count);
        self.append(&mut aggregate, [started]);
        self.sessions.push(Session { aggregate, user, item_count, judged: 0, correct: 0 });
    }

    /// A few answers, the end when there are enough of them, or before that. Some sessions are forgotten and stay open.
    pub fn study(&mut self) {
        let index = self.rng.random_range(0..self.sessions.len());
        let mut session = self.sessions.swap_remove(index);
        let mut happenings = Vec::new();
        if self.rng.random_ratio(1, 30) {
            // A client that lost its state, or another learner at the same device.
            let user = self.favourite(self.users.len());
            let user = self.users[user].aggregate.id;
            happenings.push(self.started(&session.aggregate, user, session.item_count + 1));
        }
        for _ in 0..self.rng.random_range(1..4).min(session.item_count - session.judged) {
            happenings.push(self.judged(&mut session));
        }
        let end = if session.judged == session.item_count {
            Some(self.completed(&session, "all_items_completed"))
        } else {
            match self.rng.random_range(0..200) {
                0..4 => Some(self.abandoned(&session)),
                4..6 => Some(self.completed(&session, "time_is_up")),
                _ => None,
            }
        };
        let ended = end.is_some();
        happenings.extend(end);
        self.append(&mut session.aggregate, happenings);
        if !ended && !self.rng.random_ratio(1, 200) {
            self.sessions.push(session);
        }
    }

    fn started(&mut self, aggregate: &Aggregate, user: Uuid, item_count: u32) -> Happening {
        let strategy = STRATEGIES.choose(&mut self.rng).unwrap();
        let data = json!({"session_id": aggregate.id, "user_id": user, "item_count": item_count, "strategy": strategy});
        happening("SessionStarted", data)
    }

    fn judged(&mut self, session: &mut Session) -> Happening {
        let item = self.favourite(self.items.len());
        let judgment = *JUDGMENTS.choose(&mut self.rng).unwrap();
        // Some let the question stand for weeks: sums of such times are no small numbers.
        let most = if self.rng.random_ratio(1, 50) { i32::MAX } else { 20_000 };
        session.judged += 1;
        session.correct += u32::from(judgment != "user_confirmed_incorrect");
        let data = json!({
            "session_id": session.aggregate.id, "item_id": self.items[item].aggregate.id, "judgment": judgment,
            "response_time_ms": self.rng.random_range(0..=most),
        });
        happening("CorrectnessJudged", data)
    }

    fn completed(&mut self, session: &Session, reason: &str) -> Happening {
        let most = if self.rng.random_ratio(1, 20) { i32::MAX } else { 3_600 };
        let data = json!({
            "session_id": session.aggregate.id, "user_id": session.user, "completed_count": session.judged,
            "correct_count": session.correct, "duration_seconds": self.rng.random_range(0..=most), "reason": reason,
        });
        happening("SessionCompleted", data)
    }

    fn abandoned(&mut self, session: &Session) -> Happening {
        let reason = ["user_left", "technical_error"].choose(&mut self.rng).unwrap();
        let data = json!({
            "session_id": session.aggregate.id, "user_id": session.user, "completed_count": session.judged,
            "reason": reason,
        });
        happening("SessionAbandoned", data)
    }

    pub fn achieve_milestone(&mut self) {
        let user = self.favourite(self.users.len());
        let user = self.users[user].aggregate.id;
        let mut aggregate = match self.milestones.choose(&mut self.rng) {
            Some(known) if self.rng.random_bool(0.5) => known.clone(),
            _ => self.aggregate("LearnerMilestone"),
        };
        let data = json!({"user_id": user, "milestone_type": "PerfectWeek", "achievement_details": {"days": 7}});
        self.append(&mut aggregate, [happening("MilestoneAchieved", data)]);
        self.milestones.retain(|known| known.id != aggregate.id);
        self.milestones.push(aggregate);
    }

    fn email(&mut self) -> String {
        format!("user{}@example.org", self.rng.random_range(0..1_000_000))
    }
}
