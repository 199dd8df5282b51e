//! Public keys that somebody else wrote: an entry of a JWKS from the network. What is not needed is
//! ignored (RFC 7517 §4), what is needed is taken only at sizes that cannot hurt.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::PublicJwk;

/// Sizes of RSA moduli, in bits: below, somebody else can sign, too; above, checking takes its time.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The longest RSA exponent, in bytes. Everybody uses three.
const RSA_EXPONENT: usize = 4;

impl PublicJwk {
    /// The key in an entry of a JWKS, or why it is none that we would check a signature with.
    pub fn from_entry(entry: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            // Longer than any member of a key of ours: not worth decoding.
            let text = text(name).filter(|text| text.len() <= 1024)?;
            URL_SAFE_NO_PAD.decode(text).ok()
        };
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return Err("it is not for signatures");
        }
        let coordinate = |name: &str| bytes(name).is_some_and(|bytes| bytes.len() == 32);
        let members = match (text("kty"), text("crv")) {
            (Some("EC"), Some("P-256")) => {
                if !coordinate("x") || !coordinate("y") {
                    return Err("its coordinates are not 32 bytes each, in base64url");
                }
                json!({ "crv": "P-256", "kty": "EC", "x": text("x"), "y": text("y") })
            }
            (Some("OKP"), Some("Ed25519")) => {
                if !coordinate("x") {
                    return Err("its point is not 32 bytes, in base64url");
                }
                json!({ "crv": "Ed25519", "kty": "OKP", "x": text("x") })
            }
            (Some("RSA"), _) => {
                let modulus = bytes("n").ok_or("its modulus is not in base64url, or too large")?;
                let exponent = bytes("e").ok_or("its exponent is not in base64url")?;
                if !RSA_BITS.contains(&bits(&modulus)) {
                    return Err("its modulus does not have 2048 to 4096 bits");
                }
                let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
                if exponent.len() > RSA_EXPONENT || bits(&exponent) < 2 || !odd(&exponent) {
                    return Err("its exponent is none that RSA is used with");
                }
                // Without leading zeros, which RFC 7518 §6.3.1 forbids and some write.
                let plain = |number: &[u8]| {
                    let zeros = number.iter().take_while(|byte| **byte == 0).count();
                    URL_SAFE_NO_PAD.encode(number.get(zeros..).unwrap_or_default())
                };
                json!({ "e": plain(&exponent), "kty": "RSA", "n": plain(&modulus) })
            }
            _ => return Err("it is neither a P-256, an Ed25519 nor an RSA key"),
        };
        serde_json::from_value(members).map_err(|_| "it is not a key")
    }
}

/// How many bits a big-endian number has.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let top = number.get(zeros).map_or(0, |byte| 8 - byte.leading_zeros() as usize);
    (number.len() - zeros).saturating_sub(1) * 8 + top
}

#[cfg(test)]
mod tests {
    use super::super::PrivateKey;
    use super::*;
    use crate::domain::Algorithm;

    fn entry(key: &PublicJwk) -> Map<String, Value> {
        serde_json::from_str(&key.entry("k", Algorithm::Es256)).unwrap()
    }

    #[test]
    fn an_entry_of_ours_comes_back_and_what_we_do_not_know_is_ignored() {
        for algorithm in Algorithm::ALL {
            let key = PublicJwk::of(&PrivateKey::generate(algorithm).unwrap()).unwrap();
            let mut entry = entry(&key);
            entry.insert("x5c".to_owned(), json!(["…"]));
            entry.insert("key_ops".to_owned(), json!(7));
            assert_eq!(PublicJwk::from_entry(&entry), Ok(key));
        }
    }

    #[test]
    fn a_key_that_could_hurt_is_refused() {
        let rsa = |n: &[u8], e: &[u8]| {
            let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
            json!({ "kty": "RSA", "n": encode(n), "e": encode(e) })
        };
        let large = |bytes: usize, top: u8| [vec![top], vec![255; bytes - 1]].concat();
        let f4 = [1, 0, 1];
        for (good, value) in [
            (true, rsa(&large(256, 0x80), &f4)),
            (true, rsa(&large(257, 0), &f4)),
            (true, rsa(&large(512, 255), &[3])),
            (false, rsa(&large(256, 0x7f), &f4)),
            (false, rsa(&large(513, 1), &f4)),
            (false, rsa(&large(4096, 1), &f4)),
            (false, rsa(&[], &f4)),
            (false, rsa(&large(256, 255), &[])),
            (false, rsa(&large(256, 255), &[1])),
            (false, rsa(&large(256, 255), &[4])),
            (false, rsa(&large(256, 255), &[1, 0, 0, 0, 1])),
            (false, json!({ "kty": "RSA", "n": 7, "e": "AQAB" })),
            (false, json!({ "kty": "oct", "k": "AAAA" })),
            (false, json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" })),
            (false, json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" })),
            (false, json!({ "kty": "OKP", "crv": "Ed25519", "x": ["AA"] })),
            (false, json!({})),
        ] {
            let found = PublicJwk::from_entry(value.as_object().unwrap());
            assert_eq!(found.is_ok(), good, "{value}: {found:?}");
        }
        let key = PublicJwk::of(&PrivateKey::generate(Algorithm::Es256).unwrap()).unwrap();
        let mut encryption = entry(&key);
        encryption.insert("use".to_owned(), json!("enc"));
        assert!(PublicJwk::from_entry(&encryption).is_err());
    }
}
