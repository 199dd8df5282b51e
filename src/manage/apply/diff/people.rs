//! The difference between the people of a file and those of the database.

use serde_json::{Value, json};

use super::super::people::{Passwords, Ready, Wanted};
use super::super::remembered;
use super::super::report::Change;
use super::{Differ, digest};
use crate::domain::{User, Username};
use crate::manage::apply::ApplyFile;
use crate::store::users::PasswordHash;

/// The kind of thing, in reports and in the memory of `apply`.
const USER: &str = "user";

impl Differ<'_> {
    pub(super) fn people(&mut self, file: &ApplyFile, passwords: &Passwords) {
        let mut seen = std::collections::HashSet::new();
        for described in &file.users {
            let Some(wanted) = described.check(&mut self.mistakes) else { continue };
            if !seen.insert(wanted.username.clone()) {
                self.mistakes.push(format!("user {:?}: it occurs twice", described.username));
                continue;
            }
            let name = wanted.username.to_string();
            let before = self.state.users.iter().find(|one| one.username == wanted.username);
            if self.is_left_deleted(USER, &name, before.is_some()) {
                continue;
            }
            self.remember_person(&wanted);
            match before {
                None => self.newcomer(&wanted, passwords),
                Some(user) => self.known(&wanted, user, passwords),
            }
        }
    }

    /// That the file once named somebody is remembered, with or without a password.
    fn remember_person(&mut self, wanted: &Wanted) {
        let name = wanted.username.as_str();
        let digest = digest(&json!(name));
        if self.applied.get(&(USER, name, "username")).is_none_or(|last| **last != digest) {
            self.plan.remember.push(remembered(USER, name, "username", digest));
        }
    }

    fn newcomer(&mut self, wanted: &Wanted, passwords: &Passwords) {
        let id = wanted.username.to_string();
        self.plan.report.changes.push(Change::Created { kind: USER, id: id.clone() });
        if wanted.opener.is_none() {
            let note = "without a password nobody can sign in; set password, password_file or \
                        password_hash, or run `jeton user set-password`"
                .to_owned();
            self.plan.report.changes.push(Change::Note { kind: USER, id, note });
        }
        let hash = self.storable(wanted, passwords);
        self.remember_password(wanted);
        self.plan.add_users.push((wanted.username.clone(), hash));
    }

    fn known(&mut self, wanted: &Wanted, user: &User, passwords: &Passwords) {
        let name = wanted.username.as_str();
        let last = self.applied.get(&(USER, name, "password")).copied();
        let same = last.map(|last| wanted.is_same(self.secrets, last));
        let opens = matches!(passwords.get(name), Some(Ready::Opens));
        if wanted.opener.is_none() || same == Some(Some(true)) || opens {
            self.remember_password(wanted);
            self.plan.report.unchanged += 1;
            return;
        }
        if same == Some(None) {
            // Setting it might bring back a password that an operator has replaced since.
            let note = "whether the password changed cannot be told, because the root secret of \
                        that time is gone; it is left as it is (jeton user set-password)"
                .to_owned();
            self.remember_password(wanted);
            self.plan.report.changes.push(Change::Note { kind: USER, id: name.to_owned(), note });
            self.plan.report.unchanged += 1;
            return;
        }
        if let Some(hash) = self.storable(wanted, passwords) {
            let (id, from, to) = (name.to_owned(), Value::Null, Value::Null);
            let change = Change::Changed { kind: USER, id, field: "password", from, to };
            self.plan.report.changes.push(change);
            self.remember_password(wanted);
            self.plan.set_passwords.push((user.id, hash));
        }
    }

    /// The hash of a wanted password. If none was made ready, the database has changed since.
    fn storable(&mut self, wanted: &Wanted, passwords: &Passwords) -> Option<PasswordHash> {
        wanted.opener.as_ref()?;
        if let Some(Ready::Store(hash)) = passwords.get(wanted.username.as_str()) {
            return Some(hash.clone());
        }
        self.plan.outdated = true;
        None
    }

    fn remember_password(&mut self, wanted: &Wanted) {
        let name = wanted.username.as_str();
        let Some(tag) = wanted.tag(self.secrets, self.secrets.current()) else { return };
        if self.applied.get(&(USER, name, "password")).is_none_or(|last| **last != tag) {
            self.plan.remember.push(remembered(USER, name, "password", tag));
        }
    }

    /// People whom an earlier `apply` made and the file no longer names.
    pub(super) fn absent_people(&mut self, file: &ApplyFile) {
        let names: Vec<_> =
            file.users.iter().filter_map(|one| Username::parse(&one.username).ok()).collect();
        for name in self.gone(USER, |name| names.iter().any(|one| one.as_str() == name)) {
            let user = self.state.users.iter().find(|one| one.username.as_str() == name);
            match user {
                Some(user) if self.options.prune => {
                    self.plan.delete_users.push(user.id);
                    self.delete(USER, &name);
                }
                Some(_) => {}
                None => self.plan.forget.push((USER, name)),
            }
        }
    }
}
