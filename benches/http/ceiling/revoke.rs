//! Revocation without any rule: the token is verified, and its hash is written down. By each request
//! alone, or by all that come together in one statement.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::handlers::{State, no_store, now, parameter, refused};
use super::together::Together;

type Hash = [u8; 32];

/// What the two handlers share.
pub struct Revoker {
    pool: PgPool,
    together: Together<Hash, bool>,
}

impl Revoker {
    /// One with a table of its own in this database.
    pub async fn new(url: &str) -> Self {
        let pool = PgPool::connect_lazy(url).unwrap();
        sqlx::raw_sql("create table bare_revoked (hash bytea primary key, until bigint not null)")
            .execute(&pool)
            .await
            .unwrap();
        let shared = pool.clone();
        let together = Together::new(async move |hashes: &[Hash]| {
            vec![write(&shared, hashes).await; hashes.len()]
        });
        Self { pool, together }
    }
}

/// Whether all were written.
async fn write(pool: &PgPool, hashes: &[Hash]) -> bool {
    let hashes: Vec<_> = hashes.iter().map(Hash::as_slice).collect();
    let written = sqlx::query(
        "insert into bare_revoked select hash, $2 from unnest(cast($1 as bytea[])) as hash
         on conflict do nothing",
    );
    written.bind(hashes).bind(now().cast_signed() + 600).execute(pool).await.is_ok()
}

/// Each request writes its row by itself.
pub async fn alone(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let Some(hash) = verified(&request, &body, &state) else { return refused() };
    answered(write(&state.revoker.pool, &[hash]).await)
}

/// Requests that come together write their rows together.
pub async fn together(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let Some(hash) = verified(&request, &body, &state) else { return refused() };
    answered(state.revoker.together.take(hash).await.unwrap_or_default())
}

/// The hash of the token, if it is one, and its client is who it says.
fn verified(request: &HttpRequest, body: &[u8], state: &State) -> Option<Hash> {
    state.client(request)?;
    let token = parameter(body, "token")?;
    state.aws_lc_says(&token).then(|| Sha256::digest(token.as_bytes()).into())
}

fn answered(written: bool) -> HttpResponse {
    if written { no_store().finish() } else { refused() }
}
