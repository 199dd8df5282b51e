// What a browser does between an app and the sign-in page: it keeps cookies, fills the form in, and
// follows it back, over plain HTTP.

const unescape = (text) =>
  text.replace(/&#x([0-9a-f]+);/gi, (_, hex) => String.fromCodePoint(parseInt(hex, 16)))
    .replace(/&#(\d+);/g, (_, number) => String.fromCodePoint(Number(number)))
    .replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&')

/** Opens an authorization request, signs in, and returns where the browser is sent. */
export async function signIn(address, username, password) {
  const page = await fetch(address, { redirect: 'manual' })
  const html = await page.text()
  if (page.status !== 200) throw new Error(`the sign-in page answers ${page.status}: ${html}`)
  const form = new URLSearchParams()
  for (const [field] of html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
    form.set(unescape(/name="([^"]*)"/.exec(field)[1]), unescape(/value="([^"]*)"/.exec(field)[1]))
  }
  form.set('username', username)
  form.set('password', password)
  form.set('answer', 'allow')
  const cookie = page.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ')
  const target = new URL('/oauth2/authorize', address)
  const answer = await fetch(target, { method: 'POST', body: form, headers: { cookie }, redirect: 'manual' })
  if (answer.status !== 303) throw new Error(`signing in answers ${answer.status}`)
  return new URL(answer.headers.get('location'))
}
