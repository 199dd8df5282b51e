// Asks the issuer about the token of a request: 204 lets it through, 401 and 403 do not.
function check(r) {
  const header = r.headersIn.Authorization || ''
  const found = header.match(/^bearer ([A-Za-z0-9._~+/=-]+)$/i)
  if (!found) {
    r.headersOut['WWW-Authenticate'] = 'Bearer'
    r.return(401)
    return
  }
  const body = 'token=' + encodeURIComponent(found[1])
  r.subrequest('/_introspect', { method: 'POST', body }, (answer) => {
    // Anything but a clear yes is a no, an issuer that is away included.
    let seen = {}
    try { seen = answer.status === 200 ? JSON.parse(answer.responseText) : {} } catch (e) { seen = {} }
    if (seen.active !== true) {
      r.headersOut['WWW-Authenticate'] = 'Bearer error="invalid_token"'
      r.return(401)
      return
    }
    r.headersOut['X-Client'] = seen.client_id
    r.return(204)
  })
}
export default { check }
