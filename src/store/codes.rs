//! Rows of authorization codes, under their hashes.

use std::time::Duration;

use uuid::Uuid;

use super::arg::{Arg, args};
use super::sessions::Filter;
use super::value::column;
use super::{Db, StoreError, Tx, statements};
use crate::domain::revocation::MARGIN;
use crate::domain::{Challenge, ClientId, ResourceId, Scopes, Time};

/// How much longer than it lives a code is kept: so long a second use of it still ends what the first
/// one began.
const KEPT: Duration = Duration::from_secs(24 * 3600);

statements! {
    CODE_ADD on Both =
        "insert into codes
             (digest, client_id, subject, redirect_uri, challenge, resources, scopes,
              authenticated_at, expires_at, used_at, family_id, user_agent, network)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, null, null, $10, $11)";
    CODE on Both =
        "select client_id, subject, redirect_uri, challenge, resources, scopes, authenticated_at,
                expires_at, used_at, family_id, user_agent, network
         from codes where digest = $1";
    CODE_REDEEM on Both =
        "update codes set used_at = $2, family_id = $3
         where digest = $1 and used_at is null and expires_at > $2";
    CODES_VOID on Both =
        "delete from codes
         where expires_at > $1 and used_at is null and authenticated_at < $2
           and (cast($3 as text) is null or client_id = $3)
           and ($4 = false or subject = $5)";
    CODES_OPEN on Both =
        "select count(*) from codes
         where expires_at > $1 and used_at is null and authenticated_at < $2
           and (cast($3 as text) is null or client_id = $3)
           and ($4 = false or subject = $5)";
    CODES_SWEEP on Both =
        "delete from codes where digest in (
             select digest from codes where expires_at < $1 order by expires_at limit $2)";
}

/// What a person allowed a client, until the client fetches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Whose it is.
    pub client: ClientId,
    /// Who allowed it.
    pub subject: Uuid,
    /// Where the request said to send it, byte for byte; empty if it did not say.
    pub redirect_uri: String,
    /// What the client must know the answer to.
    pub challenge: Challenge,
    /// The resources that it covers.
    pub resources: Vec<ResourceId>,
    /// The scopes that it covers.
    pub scopes: Scopes,
    /// When the person proved who they are.
    pub authenticated_at: Time,
    /// From here on it is worth nothing.
    pub expires_at: Time,
    /// When it was redeemed.
    pub used_at: Option<Time>,
    /// The family that it made.
    pub family: Option<Uuid>,
    /// What the person's browser calls itself, cut short.
    pub user_agent: Option<String>,
    /// Where it came from, cut to a /24 or a /48.
    pub network: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    client_id: String,
    subject: Uuid,
    redirect_uri: String,
    challenge: String,
    resources: String,
    scopes: String,
    authenticated_at: i64,
    expires_at: i64,
    used_at: Option<i64>,
    family_id: Option<Uuid>,
    user_agent: Option<String>,
    network: Option<String>,
}

impl TryFrom<Row> for Code {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        const TABLE: &str = "codes";
        // Not by its digest: the person is enough to find it.
        let key = row.subject;
        let resources = row.resources.split(' ').filter(|text| !text.is_empty());
        let resources = resources.map(ResourceId::parse).collect::<Result<_, _>>();
        let scopes =
            if row.scopes.is_empty() { Ok(Scopes::default()) } else { Scopes::parse(&row.scopes) };
        Ok(Self {
            client: column(ClientId::parse(&row.client_id), TABLE, key, "client_id")?,
            subject: row.subject,
            redirect_uri: row.redirect_uri,
            challenge: column(Challenge::parse(&row.challenge), TABLE, key, "challenge")?,
            resources: column(resources, TABLE, key, "resources")?,
            scopes: column(scopes, TABLE, key, "scopes")?,
            authenticated_at: Time::from_micros(row.authenticated_at),
            expires_at: Time::from_micros(row.expires_at),
            used_at: row.used_at.map(Time::from_micros),
            family: row.family_id,
            user_agent: row.user_agent,
            network: row.network,
        })
    }
}

/// Adds a code.
pub async fn add(tx: &mut Tx, digest: &[u8; 32], code: &Code) -> Result<(), StoreError> {
    let resources: Vec<_> = code.resources.iter().map(ResourceId::as_str).collect();
    let (resources, scopes) = (resources.join(" "), code.scopes.to_string());
    let args = args![
        &digest[..],
        code.client.as_str(),
        code.subject,
        &code.redirect_uri,
        code.challenge.as_str(),
        &resources,
        &scopes,
        code.authenticated_at.micros(),
        code.expires_at.micros(),
        code.user_agent.as_deref(),
        code.network.as_deref(),
    ];
    tx.run(&CODE_ADD, args).await.map(drop)
}

/// A code as it is now.
pub async fn get(db: &Db, digest: &[u8; 32]) -> Result<Option<Code>, StoreError> {
    db.one::<Row>(&CODE, args![&digest[..]]).await?.map(TryInto::try_into).transpose()
}

/// Redeems a code for a family; false if it is used already, or over. Of many who try at once exactly
/// one succeeds.
pub async fn redeem(
    tx: &mut Tx,
    digest: &[u8; 32],
    family: Uuid,
    now: Time,
) -> Result<bool, StoreError> {
    Ok(tx.run(&CODE_REDEEM, args![&digest[..], now.micros(), family]).await? == 1)
}

/// Deletes the codes that nobody has redeemed yet; says how many. One that is being redeemed at this moment
/// is waited for. Somebody else may be about to redeem one and have looked at the clock before us, or by
/// another clock, so it would not do to say that it is over by now, nor to spare what has just expired.
pub async fn void(tx: &mut Tx, which: &Filter<'_>, now: Time) -> Result<u64, StoreError> {
    tx.run(&CODES_VOID, &open(which, now)).await
}

/// So many codes [`void`] would delete.
pub async fn count(db: &Db, which: &Filter<'_>, now: Time) -> Result<u64, StoreError> {
    let found = db.one::<(i64,)>(&CODES_OPEN, &open(which, now)).await?;
    Ok(found.map_or(0, |(count,)| count.unsigned_abs()))
}

/// Which codes are open, for both of these.
fn open<'a>(which: &Filter<'a>, now: Time) -> [Arg<'a>; 5] {
    [
        (now - MARGIN).micros().into(),
        which.born_before.unwrap_or(now).micros().into(),
        which.client.map(ClientId::as_str).into(),
        which.subject.is_some().into(),
        which.subject.unwrap_or_default().into(),
    ]
}

/// Deletes a few codes that have been over for so long that nobody will present them again; says how
/// many.
pub async fn sweep(db: &Db, now: Time) -> Result<u64, StoreError> {
    const AT_ONCE: i64 = 1000;
    let before = now - KEPT;
    db.write(async |tx| tx.run(&CODES_SWEEP, args![before.micros(), AT_ONCE]).await).await
}
