//! `jeton serve --dev`: a server to try, with a client, a person, and curl lines ready to paste.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::app::{self, ApplySource, Running};
use crate::config::Settings;
use crate::error::Exit;
use crate::secret::{ClientSecret, Password, file};

/// The API that the demonstration's tokens are for.
const RESOURCE: &str = "https://api.example.test/";

/// Where the demonstration app would listen. The port is any.
const CALLBACK: &str = "http://127.0.0.1:8765/cb";

/// The PKCE example of RFC 7636, appendix B: an app draws a verifier of its own for each sign-in.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The file in the data directory that holds the demonstration client's secret.
const SECRET_FILE: &str = "demo-client-secret";

/// The file in the data directory that holds the demonstration person's password.
const PASSWORD_FILE: &str = "demo-password";

/// What development may never do: touch a shared database, or be reached from elsewhere.
pub(super) fn check(settings: &Settings, flag: &str) -> Result<(), Exit> {
    let mut problems = Vec::new();
    if !settings.database.url.is_sqlite() {
        problems.push("database.url: it uses the embedded database only");
    }
    if settings.issuer.as_ref().is_some_and(|issuer| issuer.is_https() || !issuer.is_loopback()) {
        problems.push("issuer: it is http on a loopback host");
    }
    let server = &settings.server;
    if !server.public.ip().is_loopback() || !server.operations.ip().is_loopback() {
        problems.push("server.public, server.operations: it listens on loopback only");
    }
    if server.tls.is_some() {
        problems.push("server.tls: it speaks plain HTTP");
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<_> = problems.iter().map(|problem| format!("  - {problem}")).collect();
    Err(Exit::Refused(format!(
        "{flag} is for this machine only, and the configuration says otherwise:\n{}",
        problems.join("\n")
    )))
}

/// Makes the data directory with its secrets, if they are not there.
pub(super) fn secrets(settings: &Settings, data_dir: &Path) -> Result<(), Exit> {
    app::data_directory(data_dir)?;
    if !settings.secrets_file.exists() {
        file::generate(&settings.secrets_file)?;
    }
    Ok(())
}

/// The demonstration client and person, with a random secret and password that are kept in the data
/// directory.
pub(super) fn demo(data_dir: &Path) -> Result<ApplySource, Exit> {
    keep(&data_dir.join(SECRET_FILE), || ClientSecret::generate().expose().to_owned())?;
    keep(&data_dir.join(PASSWORD_FILE), || Password::generate().expose().to_owned())?;
    let text = format!(
        r#"
[[resource]]
id = "{RESOURCE}"
scopes = [{{ name = "read", description = "See your things" }},
          {{ name = "write", description = "Change your things" }}]

[[client]]
id = "demo"
name = "Demonstration"
secret_file = "{SECRET_FILE}"
resources = ["{RESOURCE}"]
default_scopes = ["read"]

[[client]]
id = "demo-app"
name = "Demonstration app"
auth_method = "none"
grants = ["authorization_code", "refresh_token"]
redirect_uris = ["{CALLBACK}"]
resources = ["{RESOURCE}"]

[[user]]
username = "demo"
password_file = "{PASSWORD_FILE}"
"#
    );
    Ok(ApplySource::Text(text, data_dir.to_owned()))
}

/// Writes a secret to a file of its owner's alone, unless the file is there.
fn keep(path: &Path, secret: impl FnOnce() -> String) -> Result<(), Exit> {
    if path.exists() {
        return Ok(());
    }
    let secret = Zeroizing::new(secret());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(secret.as_bytes())?;
    Ok(())
}

/// What to paste next.
pub(super) fn welcome(running: &Running, data_dir: &Path) -> String {
    let issuer = &running.issuer;
    let secret = data_dir.join(SECRET_FILE);
    let secret = secret.display();
    let password = data_dir.join(PASSWORD_FILE);
    let password = password.display();
    format!(
        "\nJeton is ready: {issuer}\n\n\
         Get a token:\n\
         \x20 curl -s -u \"demo:$(cat {secret})\" -d grant_type=client_credentials {token}\n\n\
         Ask for more:\n\
         \x20 curl -s -u \"demo:$(cat {secret})\" -d grant_type=client_credentials \\\n\
         \x20      -d 'scope=read write' -d resource={RESOURCE} {token}\n\n\
         Ask about it, and take it back:\n\
         \x20 curl -s -u \"demo:$(cat {secret})\" -d token=TOKEN {introspect}\n\
         \x20 curl -s -u \"demo:$(cat {secret})\" -d token=TOKEN {revoke}\n\n\
         Sign in as demo, with the password in {password}, by opening this in a browser:\n\
         \x20 {authorize}?response_type=code&client_id=demo-app&state=x&redirect_uri={callback}&code_challenge_method=S256&code_challenge={CHALLENGE}\n\n\
         It sends you to {CALLBACK}, where nothing listens. With the code in that address:\n\
         \x20 curl -s -d grant_type=authorization_code -d client_id=demo-app -d code=CODE \\\n\
         \x20      -d redirect_uri={CALLBACK} -d code_verifier={VERIFIER} {token}\n\n\
         And with the refresh token in that answer, as often as you like:\n\
         \x20 curl -s -d grant_type=refresh_token -d client_id=demo-app -d refresh_token=TOKEN {token}\n\n\
         What verifiers need:\n\
         \x20 curl -s {jwks}\n\
         \x20 curl -s {metadata}\n\n\
         Health and metrics:\n\
         \x20 curl -s http://{operations}/healthz/ready\n\
         \x20 curl -s http://{operations}/metrics\n\n\
         Ctrl-C stops it. Everything lies in {data}; delete that to start afresh.\n",
        token = issuer.url("/oauth2/token"),
        authorize = issuer.url("/oauth2/authorize"),
        callback = CALLBACK.replace(':', "%3A").replace('/', "%2F"),
        introspect = issuer.url("/oauth2/introspect"),
        revoke = issuer.url("/oauth2/revoke"),
        jwks = issuer.url("/.well-known/jwks.json"),
        metadata = issuer.url("/.well-known/oauth-authorization-server"),
        operations = running.operations,
        data = data_dir.display(),
    )
}
