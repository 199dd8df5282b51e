"""PyPI Authlib signs somebody in, refreshes, introspects and revokes."""

import json
import re
import sys
from html import unescape

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

SECRET = "correct-horse-battery-staple"
PASSWORD = "a horse, a staple & a battery+"

with open(sys.argv[1]) as file:
    issuer = json.load(file)["issuer"]
metadata = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=10).json()


def browser(address):
    """Opens the page, fills the form in, and says where it leads."""
    session = requests.Session()
    page = session.get(address, timeout=10)
    assert page.status_code == 200, page.text
    fields = re.findall(r'<input[^>]*type="hidden"[^>]*>', page.text)
    read = lambda field, name: unescape(re.search(rf'{name}="([^"]*)"', field).group(1))
    form = {read(field, "name"): read(field, "value") for field in fields}
    form |= {"username": "alice", "password": PASSWORD, "answer": "allow"}
    # A browser sends the cookie to http on this machine, and so must this.
    cookies = {cookie.name: cookie.value for cookie in session.cookies}
    answer = requests.post(
        metadata["authorization_endpoint"], data=form, cookies=cookies, allow_redirects=False, timeout=10
    )
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


for client_id, secret, method in [("web", SECRET, "client_secret_basic"), ("spa", None, "none")]:
    verifier = generate_token(64)
    app = OAuth2Session(
        client_id,
        secret,
        scope="read",
        redirect_uri=f"https://{client_id}.example.test/cb",
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        code_challenge_method="S256",
    )
    address, state = app.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
    token = app.fetch_token(
        metadata["token_endpoint"], authorization_response=browser(address), state=state, code_verifier=verifier
    )
    assert token["scope"] == "read"
    second = app.refresh_token(metadata["token_endpoint"], token["refresh_token"])
    again = app.refresh_token(metadata["token_endpoint"], token["refresh_token"])
    assert second["refresh_token"] == again["refresh_token"] != token["refresh_token"]
    if secret:
        asked = app.introspect_token(metadata["introspection_endpoint"], token=second["refresh_token"])
        assert asked.json()["active"] is True
    ended = app.revoke_token(metadata["revocation_endpoint"], token=second["refresh_token"])
    assert ended.status_code == 200, ended.text
    refused = requests.post(
        metadata["token_endpoint"],
        data={"grant_type": "refresh_token", "refresh_token": second["refresh_token"], "client_id": client_id},
        auth=(client_id, secret) if secret else None,
        timeout=10,
    )
    assert refused.json()["error"] == "invalid_grant", refused.text
    print(f"ok - Authlib signs somebody in to {client_id}, refreshes, and ends it")
