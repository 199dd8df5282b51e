//! Signs people in as a browser does: it opens the page, keeps its cookie, fills the form in, and
//! follows it back to the client.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jeton::domain::Username;
use jeton::store::users::{self, PasswordHash};
use serde_json::Value;
use url::form_urlencoded::{Serializer, parse};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::http::{self, Answer};
use super::refused::FORM;
use super::{App, FIXTURES, SECRET, TestDatabase};

/// Clients that people sign in to: `web` and `other-web` (Basic, refresh), `spa` (public, refreshes), `brief`
/// (public, no refresh tokens), `two` (public, two resources, no default), `roaming` (public, two
/// redirect URIs), `own` (public, first party, on this machine).
pub const PEOPLE: &str = r#"
[[client]]
id = "web"
name = "Web <& \"app\"'s>"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://web.example.test/cb?tenant=1"]
resources = ["https://api.example.test/"]

[[client]]
id = "other-web"
secret = "correct-horse-battery-staple"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://other-web.example.test/cb"]
resources = ["https://api.example.test/"]

[[client]]
id = "spa"
auth_method = "none"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://spa.example.test/cb"]
resources = ["https://api.example.test/"]

[[client]]
id = "brief"
auth_method = "none"
grants = ["authorization_code"]
redirect_uris = ["https://brief.example.test/cb"]
resources = ["https://api.example.test/"]

[[client]]
id = "two"
auth_method = "none"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["https://two.example.test/cb"]
resources = ["https://api.example.test/", "https://other.example.test/v1"]

[[client]]
id = "roaming"
auth_method = "none"
grants = ["authorization_code"]
redirect_uris = ["https://roaming.example.test/cb", "http://127.0.0.1/cb"]
resources = ["https://api.example.test/"]

[[client]]
id = "own"
auth_method = "none"
grants = ["authorization_code"]
redirect_uris = ["http://localhost:3000/cb"]
resources = ["https://api.example.test/"]
first_party = true
"#;

/// RFC 7636 appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The challenge that it answers.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// The password of everybody.
pub const PASSWORD: &str = "a horse, a staple & a battery+";
/// The path.
pub const AUTHORIZE: &str = "/oauth2/authorize";

/// A server with people to sign in (`alice`) and clients for them.
pub async fn with_people(settings: &str) -> App {
    let fixtures = format!("{FIXTURES}{PEOPLE}");
    let app = App::on(TestDatabase::new(), settings, &fixtures).await;
    add_user(&app, "alice").await;
    app
}

/// Adds somebody with the password of everybody.
pub async fn add_user(app: &App, name: &str) -> Uuid {
    let service = &app.running.service;
    let hash = service.hashing.hash(Zeroizing::new(PASSWORD.to_owned())).await.unwrap();
    add_user_with(app, name, Some(&PasswordHash(hash))).await
}

/// Adds somebody with this hash.
pub async fn add_user_with(app: &App, name: &str, hash: Option<&PasswordHash>) -> Uuid {
    let (id, name) = (
        uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
        Username::parse(name).unwrap(),
    );
    let now = app.clock.now();
    let db = &app.running.service.db;
    assert!(db.write(async |tx| users::add(tx, id, &name, hash, now).await).await.unwrap());
    id
}

/// The redirect URI of a client.
pub fn redirect_uri(client: &str) -> String {
    match client {
        "web" => "https://web.example.test/cb?tenant=1".to_owned(),
        "own" => "http://localhost:3000/cb".to_owned(),
        other => format!("https://{other}.example.test/cb"),
    }
}

/// A request of a client that is sound, with these parameters instead or besides; one with an empty
/// value is left out.
pub fn request(client: &str, changed: &[(&str, &str)]) -> String {
    let redirect_uri = redirect_uri(client);
    let usual = [
        ("client_id", client),
        ("redirect_uri", redirect_uri.as_str()),
        ("response_type", "code"),
        ("state", "xyz"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let kept = usual.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    let all = kept.chain(changed.iter().filter(|(_, value)| !value.is_empty()));
    form(&all.copied().collect::<Vec<_>>())
}

/// Parameters as a form.
pub fn form(parameters: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// The sign-in page, as a browser has it.
#[derive(Debug, Clone)]
pub struct Page {
    /// The answer that it came in.
    pub answer: Answer,
    /// The cookie that the browser keeps.
    pub cookie: String,
    /// The hidden fields.
    pub hidden: Vec<(String, String)>,
}

impl Page {
    /// Reads an answer as a browser would; `cookie` is what it holds already.
    pub fn read(answer: Answer, cookie: &str) -> Self {
        let set = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let cookie = if set.is_empty() { cookie.to_owned() } else { set };
        let text = String::from_utf8(answer.body.clone()).unwrap();
        let mark = "<input type=\"hidden\" name=\"";
        let hidden = text.split(mark).skip(1).map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"").unwrap();
            (unescaped(name), unescaped(rest.split_once('"').unwrap().0))
        });
        let hidden = hidden.collect();
        Self { answer, cookie, hidden }
    }

    /// The page's text.
    pub fn text(&self) -> String {
        String::from_utf8(self.answer.body.clone()).unwrap()
    }

    /// Sends the form back.
    pub async fn submit(&self, app: &App, filled_in: &[(&str, &str)]) -> Answer {
        self.submit_with(app, filled_in, &[("cookie", &self.cookie)]).await
    }

    /// The same with exactly these headers besides.
    pub async fn submit_with(
        &self,
        app: &App,
        filled_in: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let hidden = self.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> = hidden.chain(filled_in.iter().copied()).collect();
        app.post(AUTHORIZE, headers, &form(&all)).await
    }

    /// Somebody signs in.
    pub async fn allow(&self, app: &App, username: &str, password: &str) -> Answer {
        let filled_in = [("username", username), ("password", password), ("answer", "allow")];
        self.submit(app, &filled_in).await
    }
}

/// Opens the sign-in page with a request in the query.
pub async fn open(app: &App, request: &str) -> Page {
    let answer = app.get(&format!("{AUTHORIZE}?{request}")).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    Page::read(answer, "")
}

/// Where an answer sends the browser, without its query, and the parameters that are added there.
pub fn sent_back(answer: &Answer) -> (String, Vec<(String, String)>) {
    assert_eq!(answer.status, 303, "{}", String::from_utf8_lossy(&answer.body));
    let (uri, query) = answer.header("location").split_once('?').unwrap();
    (uri.to_owned(), parse(query.as_bytes()).into_owned().collect())
}

/// One parameter of those that an answer sends back.
pub fn parameter(answer: &Answer, name: &str) -> Option<String> {
    sent_back(answer).1.into_iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

/// The code that `alice` has a client given.
pub async fn code(app: &App, client: &str, changed: &[(&str, &str)]) -> String {
    let page = open(app, &request(client, changed)).await;
    let answer = page.allow(app, "alice", PASSWORD).await;
    parameter(&answer, "code").unwrap_or_else(|| panic!("{answer:?}"))
}

/// The form with which a client redeems a code, with these parameters instead or besides.
pub fn redemption(client: &str, code: &str, changed: &[(&str, &str)]) -> String {
    let redirect_uri = redirect_uri(client);
    let usual = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri.as_str()),
        ("code_verifier", VERIFIER),
    ];
    let kept = usual.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    let all = kept.chain(changed.iter().filter(|(_, value)| !value.is_empty()));
    form(&all.copied().collect::<Vec<_>>())
}

/// A token request of a client of people, with its secret if it has one.
pub async fn ask(app: &App, client: &str, form: &str) -> Answer {
    if client == "web" {
        return http::token(&app.public(), "/oauth2/token", client, SECRET, form).await;
    }
    let form = format!("{form}&client_id={client}");
    http::send(&app.public(), "POST", "/oauth2/token", &[FORM], form.as_bytes()).await
}

/// A client redeems a code.
pub async fn redeem(app: &App, client: &str, code: &str, changed: &[(&str, &str)]) -> Answer {
    ask(app, client, &redemption(client, code, changed)).await
}

/// What a client has when somebody has signed in.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token; empty if the client may have none.
    pub refresh: String,
    /// The access token's claims.
    pub claims: Value,
    /// The whole answer.
    pub answer: Value,
}

impl Tokens {
    /// Reads the answer of the token endpoint.
    pub fn read(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let answer = answer.json();
        let access = answer["access_token"].as_str().unwrap().to_owned();
        let claims = URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
        let refresh = answer["refresh_token"].as_str().unwrap_or_default().to_owned();
        Self { access, refresh, claims: serde_json::from_slice(&claims).unwrap(), answer }
    }
}

/// `alice` signs in to a client, and the client fetches its tokens.
pub async fn sign_in(app: &App, client: &str) -> Tokens {
    let code = code(app, client, &[]).await;
    Tokens::read(&redeem(app, client, &code, &[]).await)
}

/// Undoes HTML's escapes.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("&#");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(';').unwrap();
        out.push(char::from_u32(number.parse().unwrap()).unwrap());
        out.push_str(rest);
    }
    assert!(!out.is_empty() || text.is_empty());
    out
}

/// The hash of the password of everybody with less work than is usual today.
pub fn weak_hash() -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    let params = Params::new(64, 1, 1, None).unwrap();
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    weak.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
}
