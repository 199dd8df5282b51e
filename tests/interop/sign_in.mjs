// npm oauth4webapi and openid-client sign somebody in, refresh, introspect and revoke.
import { readFileSync } from 'node:fs'
import { strict as assert } from 'node:assert'
import { webcrypto } from 'node:crypto'
globalThis.crypto ??= webcrypto

const oauth = await import('oauth4webapi')
const client = await import('openid-client')
const { signIn } = await import('./browser.mjs')

const SECRET = 'correct-horse-battery-staple'
const PASSWORD = 'a horse, a staple & a battery+'
const ready = JSON.parse(readFileSync(process.argv[2]))
const plain = { [oauth.allowInsecureRequests]: true } // the test's issuer is http on loopback
const issuer = new URL(ready.issuer)

const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain })
const as = await oauth.processDiscoveryResponse(issuer, response)

for (const [id, auth] of [['web', oauth.ClientSecretBasic(SECRET)], ['spa', oauth.None()]]) {
  const app = { client_id: id }
  const redirectUri = `https://${id}.example.test/cb`
  const verifier = oauth.generateRandomCodeVerifier()
  const address = new URL(as.authorization_endpoint)
  address.search = new URLSearchParams({
    response_type: 'code', client_id: id, redirect_uri: redirectUri, scope: 'read',
    state: 'a state & more', code_challenge_method: 'S256',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  })
  const back = await signIn(address, 'alice', PASSWORD)
  const parameters = oauth.validateAuthResponse(as, app, back, 'a state & more')
  const redeemed = await oauth.authorizationCodeGrantRequest(
    as, app, auth, parameters, redirectUri, verifier, plain)
  const tokens = await oauth.processAuthorizationCodeResponse(as, app, redeemed)
  assert.equal(tokens.scope, 'read')
  console.log(`ok - oauth4webapi signs somebody in to ${id}`)

  const refreshed = async (token) => {
    const answer = await oauth.refreshTokenGrantRequest(as, app, auth, token, plain)
    return oauth.processRefreshTokenResponse(as, app, answer)
  }
  const second = await refreshed(tokens.refresh_token)
  const again = await refreshed(tokens.refresh_token)
  assert.notEqual(second.refresh_token, tokens.refresh_token)
  assert.equal(second.refresh_token, again.refresh_token)
  console.log(`ok - oauth4webapi refreshes for ${id}, and gets the same successor twice`)

  await oauth.processRevocationResponse(
    await oauth.revocationRequest(as, app, auth, second.refresh_token, plain))
  await assert.rejects(refreshed(second.refresh_token), (error) => error.error === 'invalid_grant')
  const rs = { client_id: 'rs' }
  const asked = await oauth.introspectionRequest(
    as, rs, oauth.ClientSecretBasic(SECRET), again.access_token, plain)
  assert.deepEqual(await oauth.processIntrospectionResponse(as, rs, asked), { active: false })
  console.log(`ok - oauth4webapi ends the sign-in to ${id}, and everything of it`)
}

const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] }
const web = await client.discovery(issuer, 'web', SECRET, client.ClientSecretBasic(SECRET), options)
const verifier = client.randomPKCECodeVerifier()
const state = client.randomState()
const address = client.buildAuthorizationUrl(web, {
  redirect_uri: 'https://web.example.test/cb', scope: 'read', state, code_challenge_method: 'S256',
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
})
const back = await signIn(address, 'alice', PASSWORD)
const tokens = await client.authorizationCodeGrant(web, back, { pkceCodeVerifier: verifier, expectedState: state })
const second = await client.refreshTokenGrant(web, tokens.refresh_token)
assert.equal((await client.tokenIntrospection(web, second.refresh_token)).active, true)
await client.tokenRevocation(web, second.refresh_token)
assert.deepEqual(await client.tokenIntrospection(web, second.refresh_token), { active: false })
console.log('ok - openid-client signs somebody in, refreshes, introspects and revokes')
