//! Roles and those who have them.

use std::{convert::Infallible, fmt, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Deserialize, Serialize};

/// What somebody may do. Each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Reads everything but tokens.
    Viewer,
    /// Changes artifacts, deployments and gateways, publishes events.
    Operator,
    /// Lets releases go on that wait for a person.
    Approver,
    /// Makes and revokes tokens, changes the configuration.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub(crate) const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Approver, Self::Admin];

    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|role| role.name() == text)
            .ok_or_else(|| format!("`{text}` is no role; roles are viewer, operator, approver and admin"))
    }
}

/// Who sent a request; an extension of it, and an argument that handlers may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Name of the token, or `anonymous`.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) role: Role,
    /// The namespace for which that is true; `*`: every one.
    pub(crate) namespace: String,
}

impl Principal {
    /// Name of whoever says nothing.
    pub(crate) const ANONYMOUS: &'static str = "anonymous";

    /// Everybody, when authentication is off.
    pub(crate) fn anonymous() -> Self {
        Self {
            name: Self::ANONYMOUS.to_owned(),
            role: Role::Admin,
            namespace: "*".to_owned(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Without the layer nobody was asked: a name for events, and no right to anything.
        Ok(parts.extensions.get().cloned().unwrap_or_else(|| Self {
            role: Role::Viewer,
            ..Self::anonymous()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn roles_include_the_ones_before_and_read_back() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert!("root".parse::<Role>().is_err());
    }
}
