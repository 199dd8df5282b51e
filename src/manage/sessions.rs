//! Sign-ins: look at them, and end them.

use std::time::Duration;

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{Desk, ManageError, shown};
use crate::domain::revocation::MARGIN;
use crate::domain::session::{self, Around, End, State};
use crate::domain::token::birth_of;
use crate::domain::{Client, ClientId, Revocation, Target, Time, User};
use crate::store::audit::{self, Action, Event};
use crate::store::families::{self, Stored};
use crate::store::sessions::{self, Filter, Page};
use crate::store::{StoreError, Tx, clients, codes, instance, keys, revocations, users};

/// So many sign-ins are ended in one transaction: while it lasts, acts of others wait.
const AT_ONCE: u32 = 500;

/// So often a page whose answer was lost is tried again before the command gives up.
const TRIES: u32 = 5;

/// Which sign-ins an operator means. Nothing said means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Of this person: a username or a subject.
    pub user: Option<String>,
    /// Of this client.
    pub client: Option<String>,
    /// Only this one.
    pub family: Option<Uuid>,
    /// Begun before this.
    pub before: Option<Time>,
}

/// A sign-in as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct SessionView {
    /// Its name: the `sid` of its access tokens.
    pub id: String,
    /// Who signed in; absent for somebody who was deleted.
    pub username: Option<String>,
    /// The subject of its tokens.
    pub subject: String,
    /// At which client.
    pub client: String,
    /// When.
    pub born_at: Option<String>,
    /// When it was last refreshed, or else when it began.
    pub refreshed_at: String,
    /// How often it was refreshed, roughly: the number of its live token.
    pub generation: u32,
    /// `live`, `suspended`, `idle`, `ended` or `revoked`.
    pub state: &'static str,
    /// Why, where its times do not tell.
    pub why: Option<String>,
    /// The scopes that it covers.
    pub scopes: String,
    /// The resources that it covers.
    pub resources: Vec<String>,
    /// When it ends, however much it is used.
    pub ends_at: String,
    /// It ends when nothing is refreshed until then.
    pub idle_at: String,
    /// When it was taken back.
    pub revoked_at: Option<String>,
    /// Whether it is bound to a key.
    pub key_bound: bool,
    /// Where it came from, cut to a /24 or a /48.
    pub network: Option<String>,
    /// What the browser calls itself.
    pub user_agent: Option<String>,
}

/// The latest sign-ins.
#[derive(Debug, Clone, Serialize)]
pub struct SessionsView {
    /// Newest first.
    pub sessions: Vec<SessionView>,
    /// Whether there are more.
    pub more: bool,
}

/// What was, or would be, ended.
#[derive(Debug, Clone, Serialize)]
pub struct EndedView {
    /// So many sign-ins.
    pub sessions: u64,
    /// So many authorization codes that no app had redeemed yet.
    pub codes: u64,
    /// Within what time every replica obeys; absent if nothing was done.
    pub obeyed_within: Option<String>,
    /// Until when resource servers that check signatures and never ask may accept their tokens.
    pub accepted_without_asking_until: String,
}

/// What a [`Which`] comes to.
struct Meant {
    client: Option<ClientId>,
    subject: Option<Uuid>,
    family: Option<Uuid>,
    before: Option<Time>,
}

impl Meant {
    const fn filter(&self) -> Filter<'_> {
        Filter {
            client: self.client.as_ref(),
            subject: self.subject,
            family: self.family,
            born_before: self.before,
        }
    }

    /// Whether a sign-in may be meant that is only a code as yet: a family is one that was fetched.
    const fn may_be_unfetched(&self) -> bool {
        self.family.is_none()
    }
}

impl Desk {
    /// The latest so many sign-ins.
    pub async fn sessions(
        &self,
        which: &Which,
        most: u32,
        now: Time,
    ) -> Result<SessionsView, ManageError> {
        let meant = self.meant(which).await?;
        // One more than is shown tells whether there are more.
        let mut found = sessions::list(&self.db, &meant.filter(), most.saturating_add(1)).await?;
        let shown = usize::try_from(most).unwrap_or(usize::MAX);
        let more = found.len() > shown;
        found.truncate(shown);
        Ok(SessionsView { sessions: self.session_views(&found, now).await?, more })
    }

    /// One sign-in.
    pub async fn session(&self, id: Uuid, now: Time) -> Result<SessionView, ManageError> {
        let found: Vec<_> = families::get(&self.db, id).await?.into_iter().collect();
        let view = self.session_views(&found, now).await?.pop();
        view.ok_or_else(|| ManageError::NotFound { kind: "session", id: id.to_string() })
    }

    /// Ends sign-ins for good: their refresh tokens at once, their access tokens within the bound of
    /// the mirror. It goes page by page, each in a transaction of its own, so any number can be
    /// ended; a run that broke off is completed by the next.
    pub async fn revoke_sessions(
        &self,
        which: &Which,
        now: Time,
        dry_run: bool,
    ) -> Result<EndedView, ManageError> {
        if which.before.is_some_and(|before| before > now) {
            return Err(ManageError::invalid(
                "--before lies in the future: it would end what is yet to begin",
            ));
        }
        let mut meant = self.meant(which).await?;
        // Whoever signs in while it runs is not meant, or it might never come to an end.
        meant.before = meant.before.or(Some(now + Duration::from_millis(1)));
        let longest = self.longest_token(&keys::load(&self.db).await?);
        // The last access token of what has just ended by itself may be alive.
        let since = now - longest;
        let found = self.found(&meant, since, now).await?;
        if found.sessions + found.codes == 0 {
            self.must_be_there(&meant).await?;
        }
        let mut ended = found;
        if !dry_run {
            let act = Act { since, forget: now + longest + MARGIN, found: found.sessions, now };
            ended = self.end_pages(which, &meant, &act).await?;
            // A page whose answer was lost is not counted.
            let left = self.found(&meant, since, now).await?;
            ended.sessions = ended.sessions.max(found.sessions.saturating_sub(left.sessions));
            ended.codes = ended.codes.max(found.codes.saturating_sub(left.codes));
        }
        let bound = humantime::format_duration(self.revocation_bound).to_string();
        Ok(EndedView {
            sessions: ended.sessions,
            codes: ended.codes,
            obeyed_within: (!dry_run).then_some(bound),
            accepted_without_asking_until: shown(now + longest),
        })
    }

    /// Refuses the name of a client or a session that nobody has: where nothing is found to end, a mistyped
    /// name would read as if all was well.
    async fn must_be_there(&self, meant: &Meant) -> Result<(), ManageError> {
        if let Some(id) = meant.family
            && families::get(&self.db, id).await?.is_none()
        {
            return Err(ManageError::NotFound { kind: "session", id: id.to_string() });
        }
        if let Some(id) = &meant.client
            && !clients::load(&self.db).await?.iter().any(|client| client.id == *id)
        {
            return Err(ManageError::NotFound { kind: "client", id: id.to_string() });
        }
        Ok(())
    }

    /// What there is to end.
    async fn found(&self, meant: &Meant, since: Time, now: Time) -> Result<Count, StoreError> {
        let sessions = sessions::count(&self.db, &meant.filter(), since).await?;
        let mut codes = 0;
        if meant.may_be_unfetched() {
            codes = codes::count(&self.db, &meant.filter(), now).await?;
        }
        Ok(Count { sessions: u64::try_from(sessions).unwrap_or(0), codes })
    }

    async fn end_pages(
        &self,
        which: &Which,
        meant: &Meant,
        act: &Act,
    ) -> Result<Count, ManageError> {
        let mut ended = Count::default();
        let (mut after, mut lost, mut noted) = (Uuid::nil(), 0, false);
        loop {
            let page = Page { since: act.since, after, most: AT_ONCE };
            let event = (!noted).then_some(which);
            match self.end_page(meant, page, act, event).await {
                Ok((ids, codes)) => {
                    noted = true;
                    ended.sessions += ids.len() as u64;
                    ended.codes += codes;
                    match ids.into_iter().max() {
                        Some(last) => after = last,
                        // From the start again, for what was let go of by others meanwhile.
                        None if !after.is_nil() => after = Uuid::nil(),
                        None => return Ok(ended),
                    }
                }
                // What was done is not done again, so trying again is looking whether it was.
                Err(StoreError::Unknown) if lost < TRIES => lost += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn end_page(
        &self,
        meant: &Meant,
        page: Page,
        act: &Act,
        event: Option<&Which>,
    ) -> Result<(Vec<Uuid>, u64), StoreError> {
        self.db
            .write(async |tx| {
                let filter = meant.filter();
                let (mut marked, mut codes) = (false, 0);
                if page.after.is_nil() && meant.may_be_unfetched() {
                    (marked, codes) = end_unfetched(tx, &filter, act.now).await?;
                }
                let ids = sessions::end_page(tx, &filter, page, End::Operator, act.now).await?;
                if ids.is_empty() && codes == 0 && !marked {
                    return Ok((ids, codes));
                }
                // With the first page: what was begun has its row, even if it breaks off.
                if let Some(which) = event {
                    let detail = json!({
                        "sessions": act.found,
                        "codes": codes,
                        "subject": meant.subject.map(|id| id.to_string()),
                        "family": which.family.map(|id| id.to_string()),
                        "begun_before": which.before.map(shown),
                    });
                    let event = Event::new(Action::SessionsRevoked, &self.actor, act.now);
                    let client = meant.client.as_ref();
                    audit::add(tx, &Event { client, detail, ..event }).await?;
                }
                let acts: Vec<_> = ids.iter().map(|id| act.of(*id)).collect();
                revocations::append(tx, &acts).await?;
                Ok((ids, codes))
            })
            .await
    }

    async fn meant(&self, which: &Which) -> Result<Meant, ManageError> {
        let client = match &which.client {
            // It may have been deleted, and its sign-ins are still to be seen.
            Some(id) => Some(
                ClientId::parse(id)
                    .map_err(|_| ManageError::NotFound { kind: "client", id: id.clone() })?,
            ),
            None => None,
        };
        let subject = match which.user.as_deref().map(|name| (name, Uuid::parse_str(name))) {
            // It may be the subject of somebody who was deleted.
            Some((_, Ok(subject))) => Some(subject),
            Some((name, Err(_))) => Some(self.account(name).await?.user.id),
            None => None,
        };
        Ok(Meant { client, subject, family: which.family, before: which.before })
    }

    async fn session_views(
        &self,
        found: &[Stored],
        now: Time,
    ) -> Result<Vec<SessionView>, ManageError> {
        let everybody = instance::valid_from(&self.db).await?;
        let all = clients::load(&self.db).await?;
        let clients: HashMap<_, _> = all.iter().map(|client| (&client.id, client)).collect();
        let subjects: HashSet<_> = found.iter().map(|stored| stored.family.subject).collect();
        let mut people: HashMap<Uuid, User> = HashMap::new();
        for subject in subjects {
            if let Some(account) = users::get(&self.db, subject).await? {
                people.insert(subject, account.user);
            }
        }
        let mut views = Vec::with_capacity(found.len());
        for stored in found {
            let user = people.get(&stored.family.subject);
            let client = clients.get(&stored.family.client).copied();
            views.push(view(stored, client, user, everybody, now));
        }
        Ok(views)
    }
}

/// Ends what was allowed and not fetched yet; says whether the person's sign-ins count anew from now on, and
/// how many codes were ended. Before the families, since what is fetched at this moment is waited for and
/// has one then. Whoever redeems a code holds its person's row, so that comes first here, too.
async fn end_unfetched(
    tx: &mut Tx,
    which: &Filter<'_>,
    now: Time,
) -> Result<(bool, u64), StoreError> {
    // Somebody whose password was right a moment ago has no code yet. At one client alone nothing can be
    // written that only this sign-in would meet.
    let mut marked = false;
    if let (Some(person), None) = (which.subject, which.client) {
        marked = users::set_valid_from(tx, person, which.born_before.unwrap_or(now)).await?;
    }
    Ok((marked, codes::void(tx, which, now).await?))
}

/// So much was found, or ended.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    sessions: u64,
    codes: u64,
}

/// What all pages of one command share.
struct Act {
    since: Time,
    forget: Time,
    found: u64,
    now: Time,
}

impl Act {
    const fn of(&self, family: Uuid) -> Revocation {
        Revocation {
            target: Target::Family(family),
            issued_before: self.now,
            expires_at: self.forget,
        }
    }
}

fn view(
    stored: &Stored,
    client: Option<&Client>,
    user: Option<&User>,
    everybody: Option<Time>,
    now: Time,
) -> SessionView {
    let family = &stored.family;
    let marks = [everybody, client.and_then(|one| one.valid_from), user.map(|one| one.valid_from)];
    let around = Around {
        has_client: client.is_some(),
        client_disabled: client.is_some_and(|client| client.disabled_at.is_some()),
        has_user: user.is_some(),
        valid_from: marks.into_iter().flatten().max(),
    };
    let (state, why) = session::state(family, &around, now);
    let ended_by = stored.ended_by.clone().filter(|_| state == State::Revoked);
    SessionView {
        id: family.id.to_string(),
        username: user.map(|user| user.username.to_string()),
        subject: family.subject.to_string(),
        client: family.client.to_string(),
        born_at: birth_of(family.id).map(shown),
        refreshed_at: shown(family.rotated_at),
        generation: family.generation,
        state: state.name(),
        why: ended_by.or_else(|| why.map(str::to_owned)),
        scopes: family.scopes.to_string(),
        resources: family.resources.iter().map(ToString::to_string).collect(),
        ends_at: shown(family.ends_at),
        idle_at: shown(family.rotated_at + family.idle),
        revoked_at: family.revoked_at.map(shown),
        key_bound: family.key_thumbprint.is_some(),
        network: stored.network.clone(),
        user_agent: stored.user_agent.clone(),
    }
}
