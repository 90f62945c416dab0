// How many streams one page can have: a browser opens six connections to a host over HTTP/1.1, so six streams. Over HTTP/2,
// which it speaks over TLS only, all streams share one connection.
//
// Run with: npm ci && npm test. See bridge.js for its environment.
import assert from 'node:assert/strict';
import { mkdtempSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Bridge, certify, launch, patience, scratch, skip } from '../bridge.js';

const wanted = 20;
let browser;

// configure writes a configuration with a certificate for the public listener and returns its path.
function configure() {
  const dir = mkdtempSync(path.join(scratch, 'tls-'));
  const config = path.join(dir, 'config.yaml');
  writeFileSync(config, JSON.stringify({ public: { tls: certify(dir) } })); // JSON is YAML
  return config;
}

// openStreams opens as many streams as wanted from one page of the bridge, one after the other.
async function openStreams(bridge, origin) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  bridge.visits.push(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(`${origin}/icon.svg`); // of the same origin, and without a stream of its own
  await page.evaluate((count) => {
    window.streams = Array.from({ length: count }, (_, number) => {
      const stream = { open: false, errors: 0, events: [] };
      const source = new EventSource(`/v1/events?format=json&topic=many/*&topic=own/${number}`);
      source.addEventListener('ssebridge.open', () => { stream.open = true; });
      source.addEventListener('google.protobuf.Struct', (event) => stream.events.push([event.lastEventId, event.data]));
      source.onerror = () => { stream.errors++; };
      return stream;
    });
  }, wanted);
  return page;
}

const openOf = (page) => page.evaluate(() => window.streams.filter((stream) => stream.open).length);
const opened = (page, count) => page.waitForFunction(
  (want) => window.streams.filter((stream) => stream.open).length >= want, count);
const eventsOf = (page) => page.evaluate(() => window.streams.map((stream) => stream.events));
const protocols = (page) => page.evaluate(() => [...new Set(performance.getEntriesByType('navigation')
  .map((entry) => entry.nextHopProtocol))]);

describe('many streams of one page', { skip }, () => {
  before(async () => { browser = await launch(); });
  after(() => browser?.close());

  test('all open over HTTP/2 and TLS, and each receives every event once', async (t) => {
    const bridge = await Bridge.start(t, 'serve', '--dev', '--config', configure());
    const page = await openStreams(bridge, `https://${bridge.public}`);
    assert.deepEqual(await protocols(page), ['h2']);
    await opened(page, wanted);
    for (const n of [1, 2, 3]) await bridge.publish('many/1', { n });
    await page.waitForFunction(() => window.streams.every((stream) => stream.events.length >= 3));
    const [first, ...others] = await eventsOf(page);
    assert.deepEqual(first.map(([, data]) => data), ['{"n":1}', '{"n":2}', '{"n":3}']);
    for (const other of others) assert.deepEqual(other, first);
    assert.equal(await page.evaluate(() => window.streams.reduce((sum, stream) => sum + stream.errors, 0)), 0);
    const { readers } = await fetch(`http://${bridge.ops}/readyz?verbose`).then((response) => response.json());
    assert.equal(readers, wanted);
  });

  test('stop at six in cleartext', async (t) => {
    const bridge = await Bridge.start(t, 'serve', '--dev');
    const page = await openStreams(bridge, `http://${bridge.public}`);
    assert.deepEqual(await protocols(page), ['http/1.1']);
    await opened(page, 6);
    // Six receive three events, one after the other, and no other stream has opened meanwhile.
    for (const n of [1, 2, 3]) {
      await bridge.publish('many/1', { n });
      await page.waitForFunction((want) => window.streams.filter((stream) => stream.events.length >= want).length >= 6, n);
    }
    assert.equal(await openOf(page), 6);
    assert.equal((await eventsOf(page)).filter((events) => events.length > 0).length, 6);
    const { readers } = await fetch(`http://${bridge.ops}/readyz?verbose`).then((response) => response.json());
    assert.equal(readers, 6);
  });
});
