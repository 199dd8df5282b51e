//! What a client's registration says of its sign-ins: how long they last, and how many of them one
//! person may have alive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use jeton::domain::{Challenge, ClientId, ResourceId, Scopes, Time};
use jeton::manage::ManageError;
use jeton::manage::apply::{ApplyFile, Options};
use jeton::secret::{code_digest, new_code};
use jeton::store::Fault;
use jeton::store::codes::{self, Code};
use jeton::store::sessions::{self, Filter};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::START;
use crate::support::desk::desk;
use crate::support::refused::FORM;
use crate::support::sign_in::{
    CHALLENGE, PEOPLE, Tokens, add_user, ask, redeem, redirect_uri, sign_in,
};
use crate::support::{API, Answer, App, FIXTURES, TestDatabase, http};

const SETTINGS: &str = "issuer = \"https://id.example.test\"\n";
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

/// A public client that people sign in to, with these lines besides.
fn client(id: &str, lines: &str) -> String {
    format!(
        "[[client]]\nid = \"{id}\"\nauth_method = \"none\"\n\
         grants = [\"authorization_code\", \"refresh_token\"]\n\
         redirect_uris = [\"{}\"]\nresources = [\"{API}\"]\n{lines}\n",
        redirect_uri(id)
    )
}

async fn with(clients: &str) -> App {
    let fixtures = format!("{FIXTURES}{PEOPLE}{clients}");
    App::on(TestDatabase::new(), SETTINGS, &fixtures).await
}

async fn refresh(app: &App, client: &str, token: &str) -> Answer {
    ask(app, client, &format!("grant_type=refresh_token&refresh_token={token}")).await
}

fn family_of(tokens: &Tokens) -> Uuid {
    tokens.claims["sid"].as_str().unwrap().parse().unwrap()
}

#[actix_web::test]
async fn a_client_chooses_how_long_its_sign_ins_last_and_each_keeps_what_it_was_born_with() {
    let lines =
        |idle, absolute| format!("refresh_idle = \"{idle}\"\nrefresh_absolute = \"{absolute}\"");
    let app = with(&client("brisk", &lines("2h", "8h"))).await;
    add_user(&app, "alice").await;
    let born = app.clock.now();
    let mut tokens = sign_in(&app, "brisk").await;
    let usual = sign_in(&app, "spa").await;
    let row = app.family(family_of(&tokens)).await.family;
    assert_eq!((row.idle, row.ends_at), (2 * HOUR, born + 8 * HOUR));
    let row = app.family(family_of(&usual)).await.family;
    assert_eq!((row.idle, row.ends_at), (14 * DAY, born + 90 * DAY), "the settings'");

    app.apply(&client("brisk", &lines("30d", "60d"))).await;
    for _ in 0..4 {
        app.advance(Duration::from_secs(6600)).await;
        tokens = Tokens::read(&refresh(&app, "brisk", &tokens.refresh).await);
        let row = app.family(family_of(&tokens)).await.family;
        assert_eq!((row.idle, row.ends_at), (2 * HOUR, born + 8 * HOUR));
    }
    // 7 h 20 min have gone by: it is not idle, and used however much it ends.
    app.advance(Duration::from_secs(2400)).await;
    let late = refresh(&app, "brisk", &tokens.refresh).await;
    assert_eq!(late.error(), (400, "invalid_grant".into()));
    assert!(app.refusals("refresh_expired").await >= 1.0);

    let now = app.clock.now();
    let tokens = sign_in(&app, "brisk").await;
    let row = app.family(family_of(&tokens)).await.family;
    assert_eq!((row.idle, row.ends_at), (30 * DAY, now + 60 * DAY));
}

#[actix_web::test]
async fn what_lies_idle_for_longer_than_its_client_says_is_over() {
    let app = with(&client("brisk", "refresh_idle = \"2h\"")).await;
    add_user(&app, "alice").await;
    let tokens = sign_in(&app, "brisk").await;
    app.advance(2 * HOUR).await;
    let late = refresh(&app, "brisk", &tokens.refresh).await;
    assert_eq!(late.error(), (400, "invalid_grant".into()));
    assert!(app.refusals("refresh_idle_expired").await >= 1.0);
}

#[actix_web::test]
async fn what_cannot_hold_of_a_client_s_sign_ins_is_refused_and_named() {
    let database = TestDatabase::new();
    let desk = desk(&database).await;
    let api = format!("[[resource]]\nid = \"{API}\"\n");
    let apply = async |lines: &str| {
        let text = format!("{api}{}", client("brisk", lines));
        let file = ApplyFile::parse(&text, database.directory.path()).unwrap();
        desk.apply(&file, Options::default(), START, |_| Ok(())).await
    };
    for (lines, named) in [
        ("refresh_idle = \"8h\"\nrefresh_absolute = \"2h\"", "refresh_absolute (2h)"),
        ("refresh_idle = \"91d\"", "refresh.absolute (90d)"),
        ("refresh_idle = \"30m\"", "tokens.access_token_ttl_max"),
        ("refresh_absolute = \"30m\"", "tokens.access_token_ttl_max"),
        ("refresh_idle = \"4m\"\naccess_token_ttl = \"5m\"", "its access_token_ttl"),
        ("refresh_absolute = \"401d\"", "at most 400d"),
        ("refresh_idle = \"soon\"", "a duration with its unit"),
        ("refresh_families = 0", "at least 1"),
    ] {
        match apply(lines).await {
            Err(ManageError::Invalid(all)) => {
                assert!(all.iter().any(|one| one.contains(named)), "{lines}: {all:?}");
            }
            other => panic!("{lines}: {other:?}"),
        }
    }
    for lines in [
        "refresh_idle = \"15m\"\naccess_token_ttl = \"5m\"",
        // Shorter than the settings' idle time, which then does not count.
        "refresh_absolute = \"8h\"",
        "refresh_idle = \"399d\"\nrefresh_absolute = \"400d\"\nrefresh_families = 1",
    ] {
        apply(lines).await.unwrap_or_else(|error| panic!("{lines}: {error}"));
    }
    let shown = serde_json::to_value(desk.client("brisk").await.unwrap()).unwrap();
    assert_eq!(shown["refresh_idle"], "399d");
    assert_eq!(shown["refresh_absolute"], "400d");
    assert_eq!(shown["refresh_families"], 1);
    apply("").await.unwrap();
    let shown = serde_json::to_value(desk.client("brisk").await.unwrap()).unwrap();
    for key in ["refresh_idle", "refresh_absolute", "refresh_families"] {
        assert_eq!(shown[key], Value::Null, "an omitted key means its default");
    }
}

/// How many of a person's families at a client are alive.
async fn alive(app: &App, subject: Uuid, id: &str) -> i64 {
    let client = ClientId::parse(id).unwrap();
    let filter = Filter { client: Some(&client), subject: Some(subject), ..Filter::default() };
    let live = sessions::live(&app.running.desk.db, &filter, None, app.clock.now()).await.unwrap();
    live.get(&subject).copied().unwrap_or_default()
}

/// The families that had to make room, as the audit trail tells it.
fn made_room(app: &App) -> Vec<Value> {
    let all = "select detail from audit_events where action = 'family_revoked' order by id";
    let all = if app.database.is_postgres() {
        all.replace("select detail", "select detail::text")
    } else {
        all.to_owned()
    };
    let all: Vec<Value> =
        app.database.sql(&all).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    all.into_iter().filter(|detail| detail["why"] == "too_many_sessions").collect()
}

/// Acts that end families, as the outbox has them.
fn acts(app: &App) -> usize {
    app.database.sql("select key from revocations where kind = 'family'").len()
}

/// A code that somebody allowed a client at an instant; it is in nobody's hands yet.
async fn plant(app: &App, subject: Uuid, client: &str, at: Time) -> String {
    let text = new_code();
    let digest = code_digest(&text).unwrap();
    let code = Code {
        client: ClientId::parse(client).unwrap(),
        subject,
        redirect_uri: redirect_uri(client),
        challenge: Challenge::parse(CHALLENGE).unwrap(),
        resources: vec![ResourceId::parse(API).unwrap()],
        scopes: Scopes::parse("read").unwrap(),
        authenticated_at: at,
        expires_at: at + Duration::from_secs(60),
        used_at: None,
        family: None,
        user_agent: None,
        network: None,
    };
    let db = &app.running.desk.db;
    db.write(async |tx| codes::add(tx, &digest, &code).await).await.unwrap();
    text.expose().to_owned()
}

#[actix_web::test]
async fn a_sign_in_beyond_the_cap_ends_the_eldest_at_once_and_everywhere_and_says_so() {
    let app = with(&client("few", "refresh_families = 2")).await;
    add_user(&app, "alice").await;
    let mut all = Vec::new();
    for _ in 0..2 {
        all.push(sign_in(&app, "few").await);
        app.clock.advance(Duration::from_secs(1));
    }
    assert_eq!((made_room(&app).len(), acts(&app)), (0, 0), "the cap itself is allowed");
    assert!(app.is_active("rs", &all[0].access).await);
    all.push(sign_in(&app, "few").await);
    let (eldest, newest) = (family_of(&all[0]), family_of(&all[2]));
    assert!(!app.is_active("rs", &all[0].access).await, "at once, where it was done");
    let over = refresh(&app, "few", &all[0].refresh).await;
    assert_eq!(over.error(), (400, "invalid_grant".into()));
    for tokens in &all[1..] {
        assert!(app.is_active("rs", &tokens.access).await);
        assert_eq!(refresh(&app, "few", &tokens.refresh).await.status, 200);
    }
    let told = made_room(&app);
    assert_eq!(told.len(), 1);
    let ids = [&told[0]["family"], &told[0]["begun"]];
    assert_eq!(ids, [&json!(eldest), &json!(newest)]);
    assert_eq!(acts(&app), 1);
    let seen = app.running.desk.session(eldest, app.clock.now()).await.unwrap();
    assert_eq!((seen.state, seen.why.as_deref()), ("revoked", Some("too_many_sessions")));

    // Elsewhere and other people are not counted.
    add_user(&app, "bob").await;
    for _ in 0..3 {
        sign_in(&app, "spa").await;
    }
    assert_eq!(made_room(&app).len(), 1);
}

#[actix_web::test]
async fn only_what_is_alive_counts_and_the_new_one_stays_however_late_it_was_fetched() {
    let app = with(&client("few", "refresh_families = 2\nrefresh_idle = \"2h\"")).await;
    let alice = add_user(&app, "alice").await;
    let idle = sign_in(&app, "few").await;
    app.advance(Duration::from_secs(7201)).await;
    // For a minute the clocks of others may not agree that it is over.
    app.clock.advance(Duration::from_secs(61));
    let ended = sign_in(&app, "few").await;
    let said = format!("token={}&client_id=few", ended.refresh);
    let said = http::send(&app.public(), "POST", "/oauth2/revoke", &[FORM], said.as_bytes()).await;
    assert_eq!(said.status, 200);
    app.clock.advance(Duration::from_secs(1));
    let early = plant(&app, alice, "few", app.clock.now()).await;
    app.clock.advance(Duration::from_secs(1));
    let first = sign_in(&app, "few").await;
    app.clock.advance(Duration::from_secs(1));
    let second = sign_in(&app, "few").await;
    assert!(made_room(&app).is_empty(), "{} and the other were over", idle.claims["sid"]);
    let late = Tokens::read(&redeem(&app, "few", &early, &[]).await);
    assert!(family_of(&late) < family_of(&first));
    assert_eq!(refresh(&app, "few", &first.refresh).await.status, 400);
    assert_eq!(refresh(&app, "few", &second.refresh).await.status, 200);
    assert_eq!(refresh(&app, "few", &late.refresh).await.status, 200);
}

#[actix_web::test]
async fn a_cap_that_comes_later_holds_from_the_next_sign_in_on() {
    let app = with(&client("few", "")).await;
    let alice = add_user(&app, "alice").await;
    for _ in 0..5 {
        sign_in(&app, "few").await;
    }
    app.apply(&client("few", "refresh_families = 2")).await;
    assert_eq!(alive(&app, alice, "few").await, 5);
    sign_in(&app, "few").await;
    assert_eq!(alive(&app, alice, "few").await, 2);
    assert_eq!((made_room(&app).len(), acts(&app)), (4, 4));
}

#[actix_web::test]
async fn an_answer_to_the_commit_that_is_lost_ends_nothing_twice_and_makes_nothing_twice() {
    let app = with(&client("few", "refresh_families = 1")).await;
    let alice = add_user(&app, "alice").await;
    let first = sign_in(&app, "few").await;
    for fault in [Fault::CutBeforeCommit, Fault::CutAfterCommit, Fault::LosesRace] {
        let code = plant(&app, alice, "few", app.clock.now()).await;
        app.running.service.db.inject([fault]);
        Tokens::read(&redeem(&app, "few", &code, &[]).await);
        assert_eq!(alive(&app, alice, "few").await, 1, "{fault:?}");
    }
    assert_eq!((made_room(&app).len(), acts(&app)), (3, 3));
    assert_eq!(refresh(&app, "few", &first.refresh).await.status, 400);
}

/// Codes are redeemed at once on two servers, while others refresh and the rows are watched.
#[actix_web::test]
async fn however_many_sign_in_at_once_never_more_than_the_cap_are_alive() {
    const MANY: usize = 24;
    let one = with(&client("few", "refresh_families = 3")).await;
    let other = App::beside(&one, SETTINGS).await;
    let (alice, bob) = (add_user(&one, "alice").await, add_user(&one, "bob").await);
    let before = Tokens::read(&{
        let code = plant(&one, bob, "few", one.clock.now()).await;
        redeem(&one, "few", &code, &[]).await
    });
    let mut codes = Vec::new();
    for _ in 0..MANY {
        codes.push(plant(&one, alice, "few", one.clock.now()).await);
    }
    let done = AtomicBool::new(false);
    let watch = async {
        let mut seen = Vec::new();
        while !done.load(Ordering::Relaxed) {
            seen.push(alive(&one, alice, "few").await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        seen
    };
    let all = async {
        let asks = codes.iter().enumerate().map(async |(n, code)| {
            let app = if n % 2 == 0 { &one } else { &other };
            let mut answer = redeem(app, "few", code, &[]).await;
            // Whoever lost a race too often is told to come again, and does.
            while answer.status == 503 {
                answer = redeem(app, "few", code, &[]).await;
            }
            let tokens = Tokens::read(&answer);
            let again = refresh(app, "few", &tokens.refresh).await;
            assert!([200, 400].contains(&again.status), "{again:?}");
        });
        join_all(asks).await;
        done.store(true, Ordering::Relaxed);
    };
    let (seen, ()) = tokio::join!(watch, all);
    assert!(seen.iter().all(|alive| *alive <= 3), "{seen:?}");
    assert!(seen.len() > 2, "nobody looked");
    assert_eq!(alive(&one, alice, "few").await, 3);
    assert_eq!((made_room(&one).len(), acts(&one)), (MANY - 3, MANY - 3));
    assert_eq!(refresh(&one, "few", &before.refresh).await.status, 200, "another's");
    other.stop().await;
    one.stop().await;
}

#[actix_web::test]
async fn on_postgres_room_is_made_by_looking_at_the_families_of_one_person() {
    let database = TestDatabase::new();
    if !database.is_postgres() {
        return println!("SQLite has no such plans");
    }
    desk(&database).await;
    // All of one client, and never counted: the planner guesses.
    database.sql(
        "alter table families set (autovacuum_enabled = false);
         insert into families (id, generation, rotated_at, attempt, client_id, subject, resources,
             scopes, authenticated_at, idle, ends_at)
         select gen_random_uuid(), 0, 1000, 1, 'few', gen_random_uuid(), '', '', 0, 1000, 9000
         from generate_series(1, 20000)",
    );
    let statement = jeton::store::all_statements().find(|one| one.name == "SESSIONS_END_ELDEST");
    let sql = statement.unwrap().sql;
    let nobody = "'019b76da-a800-7000-8000-000000000001'";
    let plan = database.sql(&format!(
        "set enable_seqscan = off;
         prepare room (uuid, text, uuid, bigint, bigint, bigint, text, bigint, bigint) as {sql};
         explain (analyze, costs off, timing off, summary off)
         execute room ({nobody}, 'few', {nobody}, 3, 1500, 1400, 'x', 1, 500)"
    ));
    let plan = plan.join("\n");
    assert!(plan.contains("families_by_subject"), "{plan}");
    assert!(!plan.contains("families_by_client") && !plan.contains("Seq Scan"), "{plan}");
    assert!(!plan.contains("Rows Removed"), "it walks past others: {plan}");
}
