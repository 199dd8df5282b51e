//! The ceiling: for each path a bare actix handler with as many workers as the server has. It reads
//! what must be read, checks what must be checked, signs, and answers with the same headers and the
//! same body. It has no log, no metrics, no rules and no names for requests.

mod handlers;
mod refresh;
mod revoke;
mod signers;
mod together;

use std::future::ready;
use std::path::Path;

use actix_web::web::{Bytes, Data, get, post};
use actix_web::{App, HttpRequest, HttpServer};

use handlers::State;
use signers::{SIGNERS, Signers};

/// The algorithms that the token handlers know.
const ALGORITHMS: [&str; 4] = ["ES256", "Ed25519", "RS256", "PS256"];

/// Serves until standard input ends, which it does when the bench does.
pub fn serve(directory: &Path) {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let served = actix_web::rt::System::new().block_on(async {
        let state = Data::new(State::new(directory).await);
        let server = HttpServer::new(move || {
            let mut app = App::new()
                .app_data(state.clone())
                .route("/jwks", get().to(handlers::jwks))
                .route("/metadata", get().to(handlers::metadata))
                .route("/introspect/seen", post().to(handlers::seen))
                .route("/introspect/aws-lc", post().to(handlers::verified_by_aws_lc))
                .route("/introspect/josekit", post().to(handlers::verified_by_josekit))
                .route("/revoke", post().to(revoke::alone))
                .route("/revoke/together", post().to(revoke::together))
                .route("/refresh/alone", post().to(refresh::alone))
                .route("/refresh/together", post().to(refresh::together));
            for algorithm in ALGORITHMS {
                for signer in SIGNERS {
                    let made = Data::clone(&state).signers.get(signer, algorithm);
                    let path = format!("/token/{signer}/{algorithm}");
                    let handler = move |request: HttpRequest, body: Bytes, state: Data<State>| {
                        ready(handlers::token(&request, &body, &state, &made))
                    };
                    app = app.route(&path, post().to(handler));
                }
            }
            app
        })
        .bind(("127.0.0.1", 0))?;
        let address = server.addrs()[0];
        let ready = serde_json::json!({ "public": format!("http://{address}") });
        // In one move, so that nobody reads half of it.
        let unfinished = directory.join("ceiling.json.new");
        std::fs::write(&unfinished, ready.to_string())?;
        std::fs::rename(&unfinished, directory.join("ceiling.json"))?;
        server.run().await
    });
    served.unwrap();
}
