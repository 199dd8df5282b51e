// npm oauth4webapi and openid-client introspect and revoke.
import { readFileSync } from 'node:fs'
import { strict as assert } from 'node:assert'
import { webcrypto } from 'node:crypto'
globalThis.crypto ??= webcrypto

const oauth = await import('oauth4webapi')
const client = await import('openid-client')

const API = 'https://api.example.test/'
const SECRET = 'correct-horse-battery-staple'
const ready = JSON.parse(readFileSync(process.argv[2]))
const plain = { [oauth.allowInsecureRequests]: true } // the test's issuer is http on loopback
const issuer = new URL(ready.issuer)

const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plain })
const as = await oauth.processDiscoveryResponse(issuer, response)
const app = { client_id: 'es256' }
const rs = { client_id: 'rs', introspection_signed_response_alg: 'ES256' }
const auth = oauth.ClientSecretBasic(SECRET)
const granted = await oauth.clientCredentialsGrantRequest(as, app, auth, { scope: 'read' }, plain)
const { access_token: token } = await oauth.processClientCredentialsResponse(as, app, granted)

for (const requestJwtResponse of [false, true]) {
  const asked = await oauth.introspectionRequest(as, rs, auth, token, { requestJwtResponse, ...plain })
  const seen = await oauth.processIntrospectionResponse(as, rs, asked)
  assert.equal(seen.active, true)
  assert.equal(seen.aud, API)
  if (requestJwtResponse) await oauth.validateApplicationLevelSignature(as, asked, plain)
  console.log(`ok - oauth4webapi introspects a token (${requestJwtResponse ? 'signed' : 'plain'})`)
}
const revoked = await oauth.revocationRequest(as, app, auth, token, plain)
await oauth.processRevocationResponse(revoked)
const asked = await oauth.introspectionRequest(as, rs, auth, token, plain)
assert.deepEqual(await oauth.processIntrospectionResponse(as, rs, asked), { active: false })
console.log('ok - oauth4webapi revokes the token and finds it inactive')

const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] }
const config = (id) => client.discovery(issuer, id, SECRET, client.ClientSecretBasic(SECRET), options)
const [own, server] = [await config('es256'), await config('rs')]
const fresh = (await client.clientCredentialsGrant(own, { scope: 'read' })).access_token
assert.equal((await client.tokenIntrospection(server, fresh)).client_id, 'es256')
await client.tokenRevocation(own, fresh)
assert.deepEqual(await client.tokenIntrospection(server, fresh), { active: false })
console.log('ok - openid-client gets a token, introspects it, revokes it, and finds it inactive')
