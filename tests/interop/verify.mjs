// npm jose and oauth4webapi against a running server.
import { readFileSync } from 'node:fs'
import { strict as assert } from 'node:assert'

// oauth4webapi and jose use the Web Crypto API as a global, which Node 18 has only behind a flag.
import { webcrypto } from 'node:crypto'
globalThis.crypto ??= webcrypto

const jose = await import('jose')
const oauth = await import('oauth4webapi')

const API = 'https://api.example.test/'
const SECRET = 'correct-horse-battery-staple'
const ready = JSON.parse(readFileSync(process.argv[2]))
const plain = { [oauth.allowInsecureRequests]: true } // the test's issuer is http on loopback

for (const algorithm of ['oidc', 'oauth2']) {
  const found = await oauth.discoveryRequest(new URL(ready.issuer), { algorithm, ...plain })
  await oauth.processDiscoveryResponse(new URL(ready.issuer), found)
  console.log(`ok - oauth4webapi discovers the issuer (${algorithm})`)
}
const response = await oauth.discoveryRequest(new URL(ready.issuer), { algorithm: 'oauth2', ...plain })
const as = await oauth.processDiscoveryResponse(new URL(ready.issuer), response)
const jwks = jose.createRemoteJWKSet(new URL(as.jwks_uri))

// Node's Web Crypto knows Ed25519 from version 18 on; where it does not, jose says so.
for (const [id, algorithm] of Object.entries({
  es256: 'ES256', rs256: 'RS256', ps256: 'PS256', ed25519: 'Ed25519', eddsa: 'EdDSA',
})) {
  const client = { client_id: id }
  const auth = oauth.ClientSecretBasic(SECRET)
  const answer = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: 'read' }, plain)
  const token = await oauth.processClientCredentialsResponse(as, client, answer)
  const { payload, protectedHeader } = await jose.jwtVerify(token.access_token, jwks, {
    issuer: ready.issuer, audience: API, typ: 'at+jwt', algorithms: [algorithm],
    requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti'],
  })
  assert.equal(payload.sub, id)
  assert.equal(protectedHeader.alg, algorithm)
  const parts = token.access_token.split('.')
  const forged = [parts[0], jose.base64url.encode(JSON.stringify({ ...payload, sub: 'other' })), parts[2]]
  await assert.rejects(jose.jwtVerify(forged.join('.'), jwks, { issuer: ready.issuer }))
  console.log(`ok - jose verifies a token of ${algorithm} that oauth4webapi fetched`)
}
