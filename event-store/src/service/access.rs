//! Who may call what: one role for each call. A call that is not here is nobody's.

use identity::{Refusal, Role};
use tonic::Status;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Whoever comes: it says nothing of the store.
    Nothing,
    Role(Role),
}

/// All calls by their paths.
pub const CALLS: &[(&str, Needs)] = &[
    ("/fleet.eventstore.v1.EventStore/AppendEvents", Needs::Role(Role::Appender)),
    ("/fleet.eventstore.v1.EventStore/AppendEventStream", Needs::Role(Role::Appender)),
    ("/fleet.eventstore.v1.EventStore/SaveSnapshot", Needs::Role(Role::Appender)),
    ("/fleet.eventstore.v1.EventStore/ReadAggregate", Needs::Role(Role::Reader)),
    ("/fleet.eventstore.v1.EventStore/ReadAll", Needs::Role(Role::Reader)),
    ("/fleet.eventstore.v1.EventStore/GetHead", Needs::Role(Role::Reader)),
    ("/fleet.eventstore.v1.EventStore/GetSnapshot", Needs::Role(Role::Reader)),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Needs::Role(Role::Reader)),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Needs::Role(Role::Reader)),
    ("/grpc.health.v1.Health/Check", Needs::Nothing),
    ("/grpc.health.v1.Health/Watch", Needs::Nothing),
];

/// Who may make the call at this path; `None`: there is no such call.
pub fn needs(path: &str) -> Option<Needs> {
    CALLS.iter().find(|(of, _)| *of == path).map(|(_, needs)| *needs)
}

/// What a caller is told that was not let through.
pub fn refusal(refusal: &Refusal) -> Status {
    let why = refusal.to_string();
    match refusal {
        Refusal::Missing | Refusal::Invalid(_) | Refusal::Stripped => Status::unauthenticated(why),
        Refusal::Forbidden { .. } => Status::permission_denied(why),
        Refusal::KeysAway(_) => Status::unavailable(why),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn each_call_has_its_role() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptor of the protocol");
        let mut calls = 0;
        for file in files.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(matches!(needs(&path), Some(Needs::Role(_))), "{path}");
                    calls += 1;
                }
            }
        }
        assert_eq!(calls, CALLS.iter().filter(|(path, _)| path.starts_with("/fleet.")).count());
    }
}
