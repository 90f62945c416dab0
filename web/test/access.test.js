// Who may read, in a real browser: cookies and headers of pages of the bridge's own origin, of a listed one and of another.
//
// Run with: npm ci && npm test. See bridge.js for its environment.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Bridge, launch, patience, run, scratch, serveSite, skip } from '../bridge.js';

let browser;

// startTown starts a bridge with rules, and makes tokens for it.
async function startTown(t) {
  const dir = mkdtempSync(path.join(scratch, 'access-'));
  const [key, config] = ['dev.jwk', 'config.yaml'].map((name) => path.join(dir, name));
  const [listed, other] = [await serveSite(t), await serveSite(t)];
  const tokens = Object.fromEntries(['alice', 'bob'].map((sub) => [sub, run('token', '--key', key, '--sub', sub)]));
  writeFileSync(config, JSON.stringify({ // JSON is YAML
    public: { cookie: 'session', origins: [listed] },
    issuers: [{
      name: 'dev', url: 'https://dev.ssebridge.example', jwks_file: `${key}s`, audiences: ['ssebridge'], roles: ['subscribe'],
    }],
    topics: [{ pattern: 'users/{user}/**', publish: 'true', subscribe: 'topic.user == auth.sub' }],
  }));
  const bridge = await Bridge.start(t, 'serve', '--config', config);
  return { bridge, listed, other, tokens, own: `http://${bridge.public}` };
}

// visit opens a page of an origin in a browser that has signed in to the bridge, where a token is given.
async function visit({ bridge, own }, origin, token) {
  const context = await browser.newContext();
  bridge.visits.push(() => context.close());
  if (token) {
    await context.addCookies([{ name: 'session', value: token, url: own, httpOnly: true, sameSite: 'Strict' }]);
  }
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  if (origin === own) { // what a proxy in front of the bridge would serve under its origin
    await page.route(`${own}/site`, (route) => route.fulfill({ contentType: 'text/html', body: '<title>own</title>' }));
  } // on other pages Playwright would then answer preflights itself
  await page.goto(`${origin}/site`);
  return page;
}

const subscribe = (page, url, options) => page.evaluate(([address, init]) => {
  window.seen = { opens: 0, errors: 0, data: [] };
  window.source = new EventSource(address, init);
  window.source.addEventListener('ssebridge.open', () => { window.seen.opens++; });
  window.source.onmessage = (event) => window.seen.data.push(JSON.parse(event.data).data.n);
  window.source.onerror = () => { window.seen.errors++; };
}, [url, options]);
const opened = (page, times) => page.waitForFunction((want) => window.seen.opens >= want, times);
const received = (page, count) => page.waitForFunction((want) => window.seen.data.length >= want, count);
const closed = (page) => page.waitForFunction(() => window.source.readyState === EventSource.CLOSED);
const seen = (page) => page.evaluate(() => window.seen);
const readers = ({ bridge }) => fetch(`http://${bridge.ops}/readyz?verbose`)
  .then((response) => response.json()).then((state) => state.readers);

// read reads a stream as far as its first event, or what is said of a refusal.
const read = (page, url, token, credentials) => page.evaluate(async ([address, bearer, mode]) => {
  const headers = bearer ? { Authorization: `Bearer ${bearer}` } : {};
  try {
    const response = await fetch(address, { headers, credentials: mode });
    if (!response.ok) return `${response.status} ${(await response.json()).detail}`;
    const body = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const { value } = await body.read();
    await body.cancel();
    return value;
  } catch (error) {
    return String(error);
  }
}, [url, token, credentials ?? 'same-origin']);

describe('access', { skip }, () => {
  before(async () => { browser = await launch(); });
  after(() => browser?.close());

  test('a page of the same origin reads with its cookie, and the browser reconnects by itself', async (t) => {
    const town = await startTown(t);
    const page = await visit(town, town.own, town.tokens.alice);
    await subscribe(page, '/v1/events?topic=users/alice/**');
    await opened(page, 1);
    await town.bridge.publish('users/alice/inbox', { n: 1 });
    await town.bridge.publish('users/bob/inbox', { n: 99 });
    await received(page, 1);
    assert.equal(await town.bridge.stop('SIGTERM'), 0);
    await town.bridge.start();
    await town.bridge.publish('users/alice/inbox', { n: 2 }); // perhaps before the browser is back
    await opened(page, 2);
    await town.bridge.publish('users/alice/inbox', { n: 3 });
    await received(page, 3);
    assert.deepEqual((await seen(page)).data, [1, 2, 3]);
  });

  test('a page of a listed origin reads with the cookie', async (t) => {
    const town = await startTown(t);
    const page = await visit(town, town.listed, town.tokens.alice);
    await subscribe(page, `${town.own}/v1/events?topic=users/alice/**`, { withCredentials: true });
    await opened(page, 1);
    await town.bridge.publish('users/alice/inbox', { n: 1 });
    await received(page, 1);
    assert.deepEqual(await seen(page), { opens: 1, errors: 0, data: [1] });
  });

  test('a page of another origin reads nothing', async (t) => {
    const town = await startTown(t);
    const page = await visit(town, town.other, town.tokens.alice);
    const url = `${town.own}/v1/events?topic=users/alice/**`;
    for (const withCredentials of [true, false]) {
      await subscribe(page, url, { withCredentials });
      await closed(page);
      assert.deepEqual(await seen(page), { opens: 0, errors: 1, data: [] });
    }
    assert.match(await read(page, url, '', 'include'), /Failed to fetch/);
    assert.match(await read(page, url, town.tokens.alice), /Failed to fetch/, 'the preflight is refused');
    assert.equal(await readers(town), 0);
  });

  test('what may not be read closes the stream, and fetch says why', async (t) => {
    const town = await startTown(t);
    for (const [origin, token, topic, status] of [
      [town.own, town.tokens.bob, 'users/alice', 403], [town.own, town.tokens.bob, 'users/*', 403],
      [town.own, town.tokens.bob, '**', 403], [town.own, town.tokens.bob, 'nothing', 403],
      [town.own, '', 'users/alice', 401], [town.own, 'nonsense', 'users/alice', 401],
      [town.listed, town.tokens.bob, 'users/alice', 403], [town.listed, '', 'users/alice', 401],
    ]) {
      const page = await visit(town, origin, token);
      const url = `${town.own}/v1/events?topic=${topic}`;
      await subscribe(page, url, { withCredentials: true });
      await closed(page);
      assert.deepEqual(await seen(page), { opens: 0, errors: 1, data: [] });
      assert.match(await read(page, url, '', 'include'), new RegExp(`^${status} .`), `${origin} ${topic}`);
    }
    assert.equal(await readers(town), 0);
  });

  test('a page of a listed origin reads with a token in a header', async (t) => {
    const town = await startTown(t);
    const page = await visit(town, town.listed);
    const url = `${town.own}/v1/events?topic=users/alice`;
    assert.match(await read(page, url, town.tokens.alice), /^retry: /);
    assert.match(await read(page, url, town.tokens.bob), /^403 you may not read users\/alice$/);
    assert.match(await read(page, url, 'nonsense'), /^401 /);
  });

  test('no page reaches the internal listener', async (t) => {
    const town = await startTown(t);
    for (const origin of [town.listed, town.other]) {
      const page = await visit(town, origin, town.tokens.alice);
      const statuses = [];
      page.on('response', (response) => {
        if (response.url().startsWith(`http://${town.bridge.internal}`)) statuses.push(response.status());
      });
      await page.evaluate(async (url) => {
        const body = JSON.stringify({ events: [{ topic: 'users/alice', data: { '@type': 'google.protobuf.Struct', value: {} } }] });
        await fetch(url, { method: 'POST', mode: 'no-cors', headers: { 'Content-Type': 'text/plain' }, body });
        await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body }).catch(() => {});
      }, `http://${town.bridge.internal}/ssebridge.v1.PublishService/PublishBatch`);
      assert.ok(statuses.length > 0);
      assert.deepEqual([...new Set(statuses)], [403]);
    }
  });
});
