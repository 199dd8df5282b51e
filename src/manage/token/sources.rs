//! Where an issuer's documents are.

use serde_json::Value;

use crate::domain::Issuer;

/// Where metadata may be: RFC 8414 §3.1 puts the well-known part before the issuer's path, OpenID
/// Connect Discovery §4 behind it.
pub fn metadata_urls(issuer: &Issuer) -> [String; 2] {
    let (origin, path) = (issuer.origin(), issuer.path());
    [
        format!("{origin}/.well-known/oauth-authorization-server{path}"),
        issuer.url("/.well-known/openid-configuration"),
    ]
}

/// Where a Jeton says when each of its keys comes and goes.
pub fn schedule_url(issuer: &Issuer) -> String {
    issuer.url("/.well-known/jwks-schedule")
}

/// What metadata leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The JWKS.
    pub jwks: String,
    /// Where to ask whether a token is still good.
    pub introspection: Option<String>,
}

impl Sources {
    /// Reads metadata. Another issuer's is not to be used at all (RFC 8414 §3.3): its keys would
    /// vouch for anything.
    pub fn of(metadata: &Value, issuer: &Issuer) -> Result<Self, String> {
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(str::to_owned);
        let named = text("issuer").ok_or("it names no issuer")?;
        if named != issuer.as_str() {
            return Err(format!("it is of the issuer {named:?}, and {issuer} was asked for"));
        }
        let jwks = text("jwks_uri").ok_or("it names no jwks_uri")?;
        Ok(Self { jwks, introspection: text("introspection_endpoint") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_of_an_issuer_with_a_path_is_looked_for_where_both_standards_put_it() {
        let urls = |text| metadata_urls(&Issuer::parse(text).unwrap());
        assert_eq!(
            urls("https://id.example/t/1"),
            [
                "https://id.example/.well-known/oauth-authorization-server/t/1",
                "https://id.example/t/1/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            urls("https://id.example/"),
            [
                "https://id.example/.well-known/oauth-authorization-server",
                "https://id.example/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn metadata_of_another_issuer_leads_nowhere() {
        let issuer = Issuer::parse("https://id.example").unwrap();
        let of = |value: Value| Sources::of(&value, &issuer);
        assert!(of(json!({ "issuer": "https://id.example", "jwks_uri": "https://x/" })).is_ok());
        for other in [
            json!({ "issuer": "https://id.example/", "jwks_uri": "https://x/" }),
            json!({ "jwks_uri": "https://x/" }),
            json!({ "issuer": "https://id.example" }),
            json!({ "issuer": ["https://id.example"], "jwks_uri": "https://x/" }),
            json!([]),
            json!(null),
        ] {
            assert!(of(other.clone()).is_err(), "{other}");
        }
    }
}
