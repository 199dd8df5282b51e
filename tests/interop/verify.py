"""PyJWT's PyJWKClient and Authlib against a running server."""
import json
import sys

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session

API = "https://api.example.test/"
SECRET = "correct-horse-battery-staple"

ready = json.load(open(sys.argv[1]))
metadata = requests.get(ready["metadata"], timeout=5).json()
assert metadata["issuer"] == ready["issuer"], metadata
jwks = jwt.PyJWKClient(metadata["jwks_uri"])

# PyJWT does not know the name Ed25519 of RFC 9864; jose, next door, does.
for client, algorithm in [("es256", "ES256"), ("rs256", "RS256"), ("ps256", "PS256"), ("eddsa", "EdDSA")]:
    session = OAuth2Session(client, SECRET, scope="read", token_endpoint_auth_method="client_secret_basic")
    token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")["access_token"]
    key = jwks.get_signing_key_from_jwt(token)
    claims = jwt.decode(
        token,
        key.key,
        algorithms=[algorithm],
        audience=API,
        issuer=metadata["issuer"],
        options={"require": ["iss", "aud", "sub", "client_id", "iat", "exp", "jti"]},
    )
    assert claims["sub"] == claims["client_id"] == client and claims["scope"] == "read", claims
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    forged = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
    try:
        jwt.decode(forged, key.key, algorithms=[algorithm], audience=API)
        raise SystemExit(f"{client}: a forged token passed")
    except jwt.InvalidSignatureError:
        pass
    print(f"ok - PyJWT {jwt.__version__} verifies a token of {algorithm} that Authlib fetched")
