//! Refresh without any rule: the token is opened, its family's row is changed in place, and what the
//! row says is signed. By each request alone, or by all that come together in one statement.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton::secret::{RefreshToken, RootSecrets, TokenText, file};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;

use super::handlers::{State, no_store, now, parameter, refused};
use super::signers::Sign;
use super::together::Together;
use crate::bench::WEB;
use crate::server::ISSUER;

/// As many connections as Jeton has unless told otherwise (`database.pool`).
const CONNECTIONS: u32 = 16;

const ALONE: &str = "update families set generation = $2 + 1, rotated_at = $3, attempt = $4
     where id = $1 and generation = $2
     returning id, generation, subject, resources, scopes, authenticated_at";

const MANY: &str = "update families
     set generation = step.up_from + 1, rotated_at = step.at, attempt = step.mark
     from unnest(cast($1 as uuid[]), cast($2 as bigint[]), cast($3 as bigint[]),
                 cast($4 as bigint[])) as step (id, up_from, at, mark)
     where families.id = step.id and generation = step.up_from
     returning families.id, generation, subject, resources, scopes, authenticated_at";

/// The family after its step, as far as an answer needs it.
#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    generation: i64,
    subject: Uuid,
    resources: String,
    scopes: String,
    authenticated_at: i64,
}

/// What the two handlers share.
pub struct Refresher {
    secrets: RootSecrets,
    sign: Sign,
    options: PgConnectOptions,
    pool: PgPool,
}

thread_local! {
    /// Each thread puts its own together, on a connection of its own, whose answers wake it.
    static TOGETHER: OnceCell<Rc<Together<RefreshToken, Option<Row>>>> = const { OnceCell::new() };
}

impl Refresher {
    /// One for the families of the server that lives there, whose tokens these are.
    pub fn new(directory: &Path, url: &str, sign: Sign) -> Self {
        let secrets = file::load(&directory.join("root-secrets"), ISSUER).unwrap();
        // Rows are found as in a table of millions, whatever Postgres knows about this small one.
        let options: PgConnectOptions = url.parse().unwrap();
        let options = options.options([("enable_seqscan", "off")]);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.connect_lazy_with(options.clone());
        Self { secrets, sign, options, pool }
    }

    async fn together(&self, token: RefreshToken) -> Option<Row> {
        let make = || {
            let pool = PgPoolOptions::new().max_connections(1);
            let pool = pool.connect_lazy_with(self.options.clone());
            Rc::new(Together::new(async move |tokens: &[_]| take_many(&pool, tokens).await))
        };
        let together = TOGETHER.with(|together| together.get_or_init(make).clone());
        together.take(token).await.flatten()
    }

    async fn take(&self, token: RefreshToken) -> Option<Row> {
        let taken = sqlx::query_as(ALONE)
            .bind(token.family)
            .bind(i64::from(token.generation))
            .bind(micros())
            .bind(rand::random::<i64>())
            .fetch_optional(&self.pool);
        taken.await.ok().flatten()
    }
}

/// Takes the steps of many in one statement.
async fn take_many(pool: &PgPool, tokens: &[RefreshToken]) -> Vec<Option<Row>> {
    let ids: Vec<Uuid> = tokens.iter().map(|token| token.family).collect();
    let from: Vec<i64> = tokens.iter().map(|token| i64::from(token.generation)).collect();
    let at = vec![micros(); tokens.len()];
    let marks: Vec<i64> = tokens.iter().map(|_| rand::random()).collect();
    let taken =
        sqlx::query_as(MANY).bind(ids).bind(from).bind(at).bind(marks).fetch_all(pool).await;
    let taken: Vec<Row> = taken.unwrap_or_default();
    let mut taken: HashMap<_, _> = taken.into_iter().map(|row| (row.id, row)).collect();
    tokens.iter().map(|token| taken.remove(&token.family)).collect()
}

fn micros() -> i64 {
    now().cast_signed() * 1_000_000
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: Uuid,
    client_id: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    sid: Uuid,
    auth_time: i64,
    scope: &'a str,
}

#[derive(Serialize)]
struct Answer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    scope: &'a str,
    refresh_token: &'a str,
}

/// Each request changes its row by itself.
pub async fn alone(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let Some(token) = opened(&request, &body, &state) else { return refused() };
    answered(&state.refresher, state.refresher.take(token).await)
}

/// Requests that come together change their rows together.
pub async fn together(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let Some(token) = opened(&request, &body, &state) else { return refused() };
    answered(&state.refresher, state.refresher.together(token).await)
}

/// The token, if it is one, and its client is who it says: two MACs.
fn opened(request: &HttpRequest, body: &[u8], state: &State) -> Option<RefreshToken> {
    let is_refresh = parameter(body, "grant_type")? == "refresh_token";
    if state.client(request)? != WEB || !is_refresh {
        return None;
    }
    let text = TokenText::new(&parameter(body, "refresh_token")?);
    RefreshToken::open(&text, &state.refresher.secrets).ok()
}

fn answered(refresher: &Refresher, row: Option<Row>) -> HttpResponse {
    let Some(row) = row else { return refused() };
    let iat = now();
    let claims = Claims {
        iss: ISSUER,
        aud: &row.resources,
        sub: row.subject,
        client_id: WEB,
        iat,
        exp: iat + 600,
        jti: &URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
        sid: row.id,
        auth_time: row.authenticated_at / 1_000_000,
        scope: &row.scopes,
    };
    let generation = u32::try_from(row.generation).unwrap();
    let next = RefreshToken { family: row.id, generation }.seal(&refresher.secrets);
    no_store().json(Answer {
        access_token: &(refresher.sign)(serde_json::to_string(&claims).unwrap().as_bytes()),
        token_type: "Bearer",
        expires_in: 600,
        scope: &row.scopes,
        refresh_token: next.expose(),
    })
}
