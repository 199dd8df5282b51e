//! Public documents as ready bytes: served without work for each request, however many ask.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// A JSON document in both codings, each with a strong `ETag` (RFC 9110 §8.8.3: two codings are two
/// representations, so they carry two tags).
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// The text.
    pub plain: Bytes,
    /// The text under gzip.
    pub gzip: Bytes,
    /// The tag of the text.
    pub etag: String,
    /// The tag of the compressed text.
    pub gzip_etag: String,
}

impl Document {
    /// Prepares a document.
    pub fn new(text: String) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(hash);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory cannot fail; were it to, an empty body would show it at once.
        let gzip = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
        Self {
            plain: Bytes::from(text),
            gzip: Bytes::from(gzip.unwrap_or_default()),
            etag: format!("\"{tag}\""),
            gzip_etag: format!("\"{tag}-gzip\""),
        }
    }
}
