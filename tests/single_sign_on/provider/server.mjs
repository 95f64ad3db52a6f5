// A real OpenID provider on loopback. MODULES is the folder where its package was installed; it prints the port it listens on.
// What it does beyond the package: accounts and clients are set through /control, people sign in by naming an account, and
// /control/mangle makes it send ID tokens that are wrong in a given way, but signed with its own key.
import { createHmac } from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const installed = createRequire(`${process.env.MODULES}/package.json`);
const load = (name) => import(pathToFileURL(installed.resolve(name)));
const { default: Provider } = await load('oidc-provider');
const { exportJWK, generateKeyPair, importJWK, SignJWT } = await load('jose');

let SECRET = 'secret-of-the-portal';
let userinfo = null;
let accounts = {};
let mangle = null;
let key = null;
let provider = null;
let settings = { redirects: [], inIdToken: false };

async function newKey() {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  key = { ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: `key-${Date.now()}-${Math.random()}` };
}

function build(port) {
  const claims = { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], groups: ['groups', 'resource_access'] };
  const left = settings.redirects.map((url) => `${new URL(url).origin}/login`);
  provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{ client_id: 'portal', client_secret: SECRET, redirect_uris: settings.redirects, post_logout_redirect_uris: left,
      ...(settings.signed ? { userinfo_signed_response_alg: 'RS256' } : {}) }],
    claims,
    scopes: ['openid', 'profile', 'email', 'groups'],
    conformIdTokenClaims: !settings.inIdToken,
    jwks: { keys: [key] },
    cookies: { keys: ['a cookie of the tests'] },
    // pages of its own would fetch fonts from elsewhere
    features: {
      jwtUserinfo: { enabled: true },
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        logoutSource: (context, form) => {
          context.body = `<!doctype html><title>Sign out</title>${form}<button form="op.logoutForm" name="logout" value="yes">Sign out of it</button>`;
        },
      },
    },
    renderError: (context, out) => {
      context.type = 'text/plain';
      context.body = JSON.stringify(out);
    },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    async findAccount(_context, id) {
      return accounts[id] && { accountId: id, claims: async () => ({ sub: id, ...accounts[id] }) };
    },
    async loadExistingGrant(context) {
      const { client, session } = context.oidc;
      const grant = new context.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid profile email groups');
      await grant.save();
      return grant;
    },
  });
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function interaction(request, response) {
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end('<!doctype html><title>Test provider</title><form method="post"><label>Account <input name="account" autofocus></label>'
      + '<button name="answer" value="yes">Sign in there</button><button name="answer" value="no">Refuse</button></form>');
    return;
  }
  const given = new URLSearchParams(await body(request));
  const result = given.get('answer') === 'no'
    ? { error: 'access_denied', error_description: 'refused by the person' }
    : { login: { accountId: given.get('account') } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function forged(token) {
  const [head, payload] = token.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')));
  const claims = { ...payload, ...mangle.claims };
  for (const name of mangle.without ?? []) delete claims[name];
  const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  if (mangle.alg === 'none') return `${encoded({ alg: 'none', typ: 'JWT' })}.${encoded(claims)}.`;
  if (mangle.alg === 'HS256') {
    const text = `${encoded({ alg: 'HS256', kid: head.kid })}.${encoded(claims)}`;
    return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
  }
  return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: mangle.kid ?? key.kid }).sign(await importJWK(key, 'RS256'));
}

function mangled(response) {
  const end = response.end.bind(response);
  response.end = (chunk) => {
    const answer = JSON.parse(chunk);
    if (!answer.id_token) return end(chunk);
    forged(answer.id_token).then((token) => {
      const text = JSON.stringify({ ...answer, id_token: token });
      response.setHeader('content-length', Buffer.byteLength(text));
      end(text);
    });
    return response;
  };
}

async function control(request, response) {
  const given = JSON.parse((await body(request)) || '{}');
  const { port } = server.address();
  if (request.url === '/control/reset') {
    ({ accounts = {}, mangle = null } = given);
    settings = { redirects: given.redirects, inIdToken: given.inIdToken ?? false, signed: given.signed ?? false };
    SECRET = given.secret ?? 'secret-of-the-portal';
    userinfo = given.userinfo ?? null;
    build(port);
  } else if (request.url === '/control/accounts') accounts = given;
  else if (request.url === '/control/mangle') mangle = given;
  else if (request.url === '/control/rotate') {
    await newKey();
    build(port);
  }
  response.end('{}');
}

const server = http.createServer((request, response) => {
  const answer = async () => {
    if (request.url === '/favicon.ico') return response.writeHead(204).end();
    if (request.url.startsWith('/control/')) return control(request, response);
    if (/^\/interaction\/[^/]+$/.test(request.url)) return interaction(request, response);
    if (userinfo && request.url === '/me') {
      const text = userinfo.body ?? '';
      return response.writeHead(userinfo.status, { 'content-type': userinfo.type ?? 'application/json' }).end(text);
    }
    if (mangle && request.url === '/token') mangled(response);
    return provider.callback()(request, response);
  };
  answer().catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
});

await newKey();
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
process.stdin.on('end', () => process.exit(0)).resume(); // ends with the tests that started it
