"""Authlib and requests-oauthlib introspect and revoke; PyJWT verifies a signed introspection."""
import json
import sys

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session as Authlib
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as RequestsOAuthlib

API = "https://api.example.test/"
SECRET = "correct-horse-battery-staple"

ready = json.load(open(sys.argv[1]))
metadata = requests.get(ready["metadata"], timeout=5).json()
asking = metadata["introspection_endpoint"]

# Authlib: its own methods for RFC 7662 and RFC 7009.
client = Authlib("es256", SECRET, scope="read", token_endpoint_auth_method="client_secret_basic")
token = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")["access_token"]
server = Authlib("rs", SECRET)
seen = server.introspect_token(asking, token=token, token_type_hint="access_token").json()
assert seen["active"] and seen["client_id"] == "es256" and seen["aud"] == API, seen
answer = client.revoke_token(metadata["revocation_endpoint"], token=token, token_type_hint="access_token")
assert answer.status_code == 200 and answer.text == "", answer.text
assert server.introspect_token(asking, token=token).json() == {"active": False}
print("ok - Authlib introspects a token, revokes it, and finds it inactive")

# requests-oauthlib: a backend application, with the credential in the form.
session = RequestsOAuthlib(client=BackendApplicationClient(client_id="poster", scope=["read"]))
token = session.fetch_token(
    metadata["token_endpoint"], client_id="poster", client_secret=SECRET, include_client_id=True
)["access_token"]
form = {"token": token, "client_id": "poster", "client_secret": SECRET}
assert requests.post(asking, data=form, timeout=5).json()["active"]
assert requests.post(metadata["revocation_endpoint"], data=form, timeout=5).status_code == 200
assert requests.post(asking, data=form, timeout=5).json() == {"active": False}
print("ok - requests-oauthlib gets a token with its credential in the form, and it is revoked")

# RFC 9701: an answer that is signed for the one who asked.
token = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")["access_token"]
signed = requests.post(
    asking,
    data={"token": token},
    auth=("rs", SECRET),
    headers={"Accept": "application/token-introspection+jwt"},
    timeout=5,
)
assert signed.headers["content-type"] == "application/token-introspection+jwt", signed.headers
key = jwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(signed.text)
claims = jwt.decode(
    signed.text,
    key.key,
    algorithms=metadata["introspection_signing_alg_values_supported"],
    audience="rs",
    issuer=metadata["issuer"],
)
assert jwt.get_unverified_header(signed.text)["typ"] == "token-introspection+jwt"
assert claims["token_introspection"]["active"] and "exp" not in claims and "sub" not in claims, claims
print("ok - PyJWT verifies a signed introspection")
