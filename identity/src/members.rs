//! Roles, and who has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::Identity;

/// What a caller may do. No role contains another one, but operators and readers of payloads see what viewers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Looks at everything in the admin API but payloads.
    Viewer,
    /// Looks, and changes: repairs, rebuilds, pauses, discards.
    Operator,
    /// Looks, also at payloads; each look is recorded.
    PayloadReader,
    /// Appends events and saves snapshots.
    Appender,
    /// Reads events and snapshots.
    Reader,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::PayloadReader, Self::Appender, Self::Reader];

    /// What it is called where roles are given.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::PayloadReader => "payload-reader",
            Self::Appender => "appender",
            Self::Reader => "reader",
        }
    }
}

/// Some of the roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// All of them: where nobody is asked.
    pub const ALL: Self = Self(0b1_1111);

    /// What whoever is given this role may do. Operators and readers of payloads see what viewers see.
    const fn of(role: Role) -> Self {
        Self(match role {
            Role::Viewer => 0b0_0001,
            Role::Operator => 0b0_0011,
            Role::PayloadReader => 0b0_0101,
            Role::Appender => 0b0_1000,
            Role::Reader => 0b1_0000,
        })
    }

    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Who has which role.
#[derive(Debug, Clone, Default)]
pub struct Members(BTreeMap<&'static str, BTreeSet<String>>);

impl Members {
    /// Reads what is given as JSON: `{"viewer": ["domain:example.com"], "operator": ["ada@example.com", "group:on-call"]}`.
    /// Members are emails, `domain:` and what follows the `@` of emails, `group:` and a name of the token's claim `groups`,
    /// `subject:` and what the issuer knows somebody by, and names of tokens.
    ///
    /// # Errors
    /// It is no such thing; the message says where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let given: BTreeMap<String, Vec<String>> =
            serde_json::from_str(text).map_err(|error| format!("not an object of lists of members: {error}"))?;
        let mut members = Self::default();
        for (name, given) in given {
            let role = Role::ALL.iter().find(|role| role.as_str() == name).ok_or_else(|| unknown(&name))?;
            for member in given {
                let everybody = ["allusers", "allauthenticatedusers"].contains(&&*member.to_lowercase());
                if everybody || member.trim() != member || member.is_empty() || member.contains(['*', '\0']) {
                    return Err(format!(
                        "{name}: {member:?} is nobody in particular; name emails, domain:…, group:…, subject:… or tokens"
                    ));
                }
                members.0.entry(role.as_str()).or_default().insert(member.to_lowercase());
            }
        }
        if members.0.values().all(BTreeSet::is_empty) {
            return Err("nobody has a role, so that nobody could do anything".to_owned());
        }
        Ok(members)
    }

    /// Whether anybody has one of these roles.
    pub fn have_one_of(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.0.get(role.as_str()).is_some_and(|members| !members.is_empty()))
    }

    pub(crate) fn roles(&self, identity: &Identity) -> Roles {
        let name = identity.name.to_lowercase();
        let mut known_as: Vec<String> =
            identity.groups.iter().map(|group| format!("group:{}", group.to_lowercase())).collect();
        known_as.extend(name.rsplit_once('@').map(|(_, domain)| format!("domain:{domain}")));
        known_as.push(format!("subject:{}", identity.subject.to_lowercase()));
        known_as.push(name);
        let mut roles = Roles::default();
        for role in Role::ALL {
            if let Some(members) = self.0.get(role.as_str())
                && known_as.iter().any(|name| members.contains(name))
            {
                roles.add(Roles::of(role));
            }
        }
        roles
    }
}

fn unknown(name: &str) -> String {
    let all = Role::ALL.map(Role::as_str);
    let nearest =
        all.into_iter().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
    format!("there is no role {name:?}; did you mean {:?}? There are {}", nearest.unwrap_or_default(), all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        Identity { name: name.to_owned(), subject: "1".to_owned(), groups }
    }

    #[test]
    fn a_member_has_the_roles_that_its_name_its_domain_its_groups_and_its_subject_are_given() {
        let members = Members::parse(
            r#"{"viewer": ["domain:example.com"], "operator": ["Ada@example.com", "group:on-call", "allen@example.net"],
                "payload-reader": ["subject:7"], "appender": ["shop"]}"#,
        );
        let members = members.expect("roles");
        let of = |identity: &Identity| {
            let roles = members.roles(identity);
            Role::ALL.into_iter().filter(|role| roles.has(*role)).map(Role::as_str).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&identity("bob@example.com", &[])), "viewer");
        assert_eq!(of(&identity("ada@example.com", &[])), "viewer operator");
        assert_eq!(of(&identity("eve@example.org", &["on-call"])), "viewer operator");
        assert_eq!(of(&identity("eve@notexample.com", &[])), "");
        assert_eq!(of(&identity("eve@example.org", &["domain:example.com"])), "");
        assert_eq!(of(&identity("allen@example.net", &[])), "viewer operator");
        assert_eq!(of(&identity("shop", &[])), "appender");
        assert_eq!(of(&Identity { subject: "7".to_owned(), ..identity("x", &[]) }), "viewer payload-reader");
    }

    #[test]
    fn what_gives_a_role_to_nobody_in_particular_is_refused_with_a_reason() {
        for (text, reason) in [
            ("[]", "not an object"),
            (r#"{"operater": ["ada@example.com"]}"#, r#"did you mean "operator""#),
            (r#"{"operator": ["*"]}"#, "nobody in particular"),
            (r#"{"operator": ["allUsers"]}"#, "nobody in particular"),
            (r#"{"operator": [""]}"#, "nobody in particular"),
            (r#"{"operator": []}"#, "nobody has a role"),
        ] {
            let refused = Members::parse(text).expect_err(text);
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}
