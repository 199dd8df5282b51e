//! Sign-ins as operators see them: what state a family is in, and why it ended.

use uuid::Uuid;

use super::{Family, Reason, Time};

/// Why an act ended a family: what its row says, beside the reasons of the refresh path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its client took it back.
    Client,
    /// An operator ended it.
    Operator,
    /// The person's password was set anew.
    PasswordChanged,
    /// The person was deleted.
    UserDeleted,
    /// The person signed in anew, and its client may have no more of them alive.
    TooMany,
    /// It had been ended before the database lost that, and a replica knew.
    Restored,
}

impl End {
    /// Its name in the row.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::PasswordChanged => "password_changed",
            Self::UserDeleted => "user_deleted",
            Self::TooMany => "too_many_sessions",
            Self::Restored => "revocation_restored",
        }
    }
}

/// What can be said of a family at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can be refreshed.
    Live,
    /// It cannot be refreshed until somebody is switched on again.
    Suspended,
    /// Nothing was refreshed for too long.
    Idle,
    /// It came to its end.
    Ended,
    /// It was taken back, for good.
    Revoked,
}

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Suspended => "suspended",
            Self::Idle => "idle",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
        }
    }
}

/// What else than its own row decides about a family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    /// Whether its client is still registered.
    pub has_client: bool,
    /// Whether its client is switched off.
    pub client_disabled: bool,
    /// Whether its person is still there.
    pub has_user: bool,
    /// The latest instant before which nothing counts: the client's, the person's or the instance's.
    pub valid_from: Option<Time>,
}

/// The state of a family, and the reason that its row does not tell.
pub fn state(family: &Family, around: &Around, now: Time) -> (State, Option<&'static str>) {
    match family.lives(now) {
        Err(Reason::RefreshExpired) => return (State::Ended, None),
        Err(Reason::RefreshIdleExpired) => return (State::Idle, None),
        Err(Reason::SubjectDisabled) => {
            return (State::Suspended, Some(Reason::SubjectDisabled.name()));
        }
        Err(_) => return (State::Revoked, None),
        Ok(()) => {}
    }
    if !around.has_client {
        return (State::Revoked, Some("client_deleted"));
    }
    if !around.has_user {
        return (State::Revoked, Some(End::UserDeleted.name()));
    }
    let born = super::token::birth_of(family.id);
    if around.valid_from.is_some_and(|from| born.is_none_or(|born| born < from)) {
        return (State::Revoked, Some(Reason::IssuedBeforeWatermark.name()));
    }
    if around.client_disabled {
        return (State::Suspended, Some(Reason::ClientDisabled.name()));
    }
    (State::Live, None)
}

/// The least name that a family born at `birth` or later can have: names carry milliseconds, so
/// whatever sorts before it was born before that instant.
pub fn first_name(birth: Time) -> Uuid {
    let micros = u128::try_from(birth.micros()).unwrap_or(0);
    Uuid::from_u128(micros.div_ceil(1000) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{NoContext, Timestamp};

    #[test]
    fn what_sorts_before_the_first_name_was_born_before_it() {
        let born = |micros: u64| {
            let nanos = u32::try_from(micros % 1_000_000).unwrap() * 1000;
            Uuid::new_v7(Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
        };
        for before in [1_767_225_600_000_000_u64, 1_767_225_600_000_001, 1_767_225_600_123_999] {
            let bound = first_name(Time::from_micros(i64::try_from(before).unwrap()));
            for micros in [before - 1_000_000, before - 1000, before - 1, before, before + 1000] {
                let name = born(micros);
                let at = super::super::token::birth_of(name).unwrap();
                assert_eq!(name < bound, at.micros() < i64::try_from(before).unwrap(), "{micros}");
            }
        }
    }
}
