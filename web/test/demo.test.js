// The demo page in a real browser against the real program: what the page shows has to be true while the server is
// stopped, killed, restarted and drops its readers.
//
// Run with: npm ci && npm test. See bridge.js for its environment.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { Bridge, launch, patience, skip } from '../bridge.js';

let browser;

// visit opens the page. The test fails if the browser ever complains about it, but for `expected` complaints.
async function visit(demo, { query = '', viewport, expected, clock, unavailable } = {}) {
  const context = await browser.newContext({ viewport });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => { complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.exposeFunction('complain', (text) => complaints.push(text));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (violation) => {
      window.complain(`policy: ${violation.violatedDirective} ${violation.blockedURI} ${violation.sample}`);
    });
    window.sources = 0; // how often the page has opened one; reconnecting by itself does not count
    window.EventSource = class extends EventSource {
      constructor(...args) {
        super(...args);
        window.sources++;
      }
    };
  });
  demo.visits.push(async () => {
    await context.close();
    assert.deepEqual(complaints.filter((text) => !expected?.test(text)), []);
  });
  if (clock) await page.clock.install();
  if (unavailable) {
    await page.route(/\/v1\/events/, (route) => route.fulfill({ status: 503, body: 'busy' }), { times: unavailable });
  }
  await page.goto(`http://${demo.public}/${query}`);
  return page;
}

const look = (page) => page.evaluate(() => ({ ...window.ssebridge, sources: window.sources }));
const inState = (page, state) => page.waitForFunction((want) => window.ssebridge.state === want, state);
const opened = (page, times) => page.waitForFunction((want) => window.ssebridge.opens >= want, times);
const lastTick = (page) => page.evaluate(() => window.ssebridge.ticks.at(-1));
const tickReached = (page, number) => page.waitForFunction((want) => window.ssebridge.ticks.at(-1) >= want, number);
const reported = (page, pattern) => page.locator('#report', { hasText: pattern }).textContent();

// assertWhole checks that from the first event that the page has received to the last each came once: the ticks by
// their numbers, and everything by what another page receives that reads the log from its beginning.
async function assertWhole(demo, page) {
  const { ticks, events, missed, repeated, resets } = await look(page);
  assert.deepEqual(ticks, ticks.map((_, i) => ticks[0] + i));
  assert.deepEqual({ missed, repeated, resets }, { missed: 0, repeated: 0, resets: [] });
  assert.equal(await page.textContent('#missed'), '0');
  assert.equal(await page.textContent('#repeated'), '0');

  const received = events.map((event) => event.cursor);
  const reader = await visit(demo, { query: `${new URL(page.url()).search || '?'}&since=earliest` });
  const last = received.at(-1);
  await reader.waitForFunction((want) => window.ssebridge.events.some((event) => event.cursor === want), last);
  const log = (await look(reader)).events.map((event) => event.cursor);
  assert.deepEqual(received, log.slice(log.indexOf(received[0]), log.indexOf(last) + 1));
}

const offline = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE/;

// The tests wait more than they work.
describe('demo page', { skip, concurrency: 3 }, () => {
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  test('shows ticks and orders as they arrive', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo);
    await inState(page, 'open');
    await page.waitForFunction(() => window.ssebridge.ticks.length >= 3);
    await page.locator('#board .card').first().waitFor();
    await page.locator('#events .row', { hasText: 'demo.v1.OrderUpdated' }).first().waitFor();
    assert.equal(await page.textContent('#state'), 'Open');
    const url = `http://${demo.public}/v1/events?topic=demo/ticks&topic=demo/orders/*`;
    assert.equal(await page.textContent('#request'), `GET ${url}`);
    assert.ok((await page.textContent('#code')).includes(`new EventSource(\n  "${url}",\n)`));
    await assertWhole(demo, page);
  });

  test('publishes what its own command says', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { query: '?topic=late/**' });
    await inState(page, 'open');
    await page.locator('#empty').waitFor(); // where the same command is in the middle of the page
    const command = await page.textContent('#publish');
    assert.equal(await page.textContent('#empty code'), command);
    await page.locator('[data-copy=publish]').click();
    assert.equal(await page.evaluate(() => getSelection().toString()), command);
    const port = demo.internal.split(':')[1];
    assert.ok(command.startsWith(`curl http://localhost:${port}/ssebridge.v1.PublishService/PublishBatch `), command);
    assert.match(execFileSync('bash', ['-c', command], { stdio: ['ignore', 'pipe', 'ignore'] }).toString(), /"cursor":/);
    const row = page.locator('#events .row', { hasText: 'late/1' });
    await row.waitFor();
    assert.match(await row.textContent(), /hello, browser/);
  });

  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`misses nothing when the server is restarted after ${signal}`, async (t) => {
      const demo = await Bridge.start(t);
      const page = await visit(demo, { expected: offline });
      await page.waitForFunction(() => window.ssebridge.ticks.length >= 2);
      const stopped = await demo.stop(signal);
      assert.equal(stopped, signal === 'SIGTERM' ? 0 : signal);
      await inState(page, 'reconnecting');
      const reached = await lastTick(page);

      await demo.start();
      await opened(page, 2);
      await tickReached(page, reached + 2);
      assert.match(await reported(page, /none missing/), /Lost, and back after .* none missing, none repeated: ticks/);
      await assertWhole(demo, page);
      assert.equal((await look(page)).sources, 1, 'the browser reconnects by itself');
    });
  }

  test('receives what was published before it was back, though it had received nothing before', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { query: '?topic=late/**', expected: offline });
    // The browser waits 1 to 5 s between its tries, so what is published right after the start comes first, as a rule.
    // Only where it did, and the page had received nothing before, is there something to prove.
    for (let attempt = 1; ; attempt++) {
      assert.ok(attempt <= 5, 'the page was always back before the event was published');
      await opened(page, 1);
      await demo.stop('SIGTERM');
      await inState(page, 'reconnecting');
      const { opens, events } = await look(page);
      assert.deepEqual(events, []);
      await demo.start();
      await demo.publish('late/1', { attempt });
      if ((await look(page)).opens === opens) break;
      await page.reload();
    }
    await page.waitForFunction(() => window.ssebridge.events.length > 0);
    await demo.publish('late/2', { end: true }); // what should not come would have come before it
    await page.waitForFunction(() => window.ssebridge.events.at(-1).subject === 'late/2');
    const { events, resets, sources } = await look(page);
    assert.deepEqual(events.map((event) => event.subject), ['late/1', 'late/2']);
    assert.deepEqual(resets, []);
    assert.equal(sources, 1, 'the browser reconnects by itself');
    assert.match(await page.textContent('#report'), /1 event arrived that was published meanwhile/);
  });

  test('comes back by itself when the server drops it', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { expected: offline });
    await page.waitForFunction(() => window.ssebridge.ticks.length >= 2);
    await page.click('#drop');
    await inState(page, 'reconnecting');
    const reached = await lastTick(page);
    assert.match(await page.textContent('#report'), /The server has cut this connection/);
    await opened(page, 2);
    await tickReached(page, reached + 2);
    assert.match(await reported(page, /none missing/),
      /^Dropped, and back after .*\d+ events? arrived that (was|were) published meanwhile; none missing/);
    await assertWhole(demo, page);
    assert.equal((await look(page)).sources, 1, 'the browser reconnects by itself');
  });

  test('resumes after a pause with what was published meanwhile', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo);
    const witness = await visit(demo); // tells what is published while the other does not listen
    await page.waitForFunction(() => window.ssebridge.ticks.length >= 2);
    await page.click('#pause');
    await inState(page, 'paused');
    const { ticks, lastEventId } = await look(page);
    await tickReached(witness, ticks.at(-1) + 3);
    assert.deepEqual((await look(page)).ticks, ticks);
    await page.getByRole('button', { name: 'Resume' }).click();
    await tickReached(page, ticks.at(-1) + 4);
    const report = await reported(page, /none missing/);
    assert.match(report, /^Resumed after .* events arrived that were published while paused; none missing/);
    assert.ok(Number(/(\d+) events/.exec(report)[1]) >= 3, report);
    assert.ok((await page.textContent('#request')).endsWith(`&since=${lastEventId}`));
    await assertWhole(demo, page);
  });

  test('replaces a connection that has fallen silent', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { query: '?topic=late/**', clock: true });
    await opened(page, 1);
    await page.clock.fastForward(60_000);
    await opened(page, 2);
    await demo.publish('late/1', {});
    await page.waitForFunction(() => window.ssebridge.events.length === 1);
    assert.equal((await look(page)).sources, 2);
  });

  // EventSource gives up for good at such an answer, and proxies give it while a backend starts.
  test('tries again after a 503', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { query: '?topic=demo/ticks', expected: /status of 503/, unavailable: 2 });
    await page.getByText('The browser has given up: 503 busy').waitFor();
    await page.waitForFunction(() => window.ssebridge.ticks.length >= 2);
    await assertWhole(demo, page);
  });

  test('says what the server says about a malformed topic, and goes on when it is mended', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { expected: /status of 400/ });
    await inState(page, 'open');
    const malformed = 'demo//<b>ticks</b>';
    const url = `http://${demo.public}/v1/events?topic=${encodeURIComponent(malformed)}`;
    const problem = await fetch(url).then((response) => response.json());
    assert.ok(problem.detail);
    await page.fill('#topics', malformed);
    await page.getByRole('button', { name: 'Apply' }).click();
    await inState(page, 'closed');
    assert.equal(await page.textContent('#topics-error'), `400 ${problem.detail}`);

    await page.fill('#topics', 'demo/ticks');
    await page.getByRole('button', { name: 'Apply' }).click();
    await page.waitForFunction(() => window.ssebridge.ticks.length >= 2);
    assert.equal(await page.textContent('#topics-error'), '');
    assert.match(page.url(), /\?topic=demo%2Fticks$/);
    await assertWhole(demo, page);
  });

  test('treats the data of an event as text', async (t) => {
    const demo = await Bridge.start(t);
    const page = await visit(demo, { query: '?topic=hostile/**' });
    await inState(page, 'open');
    const image = '<img src=x onerror="window.hacked = true">';
    const control = '\u0000\u0007\r\n\ndata: injected\n\n\u001b[31m\u2028\u202egnp.exe';
    const script = '<script>window.hacked = true</script>';
    await demo.publish('hostile/1', { [image]: image, script, control, link: 'javascript:alert(1)' });
    const row = page.locator('#events .row', { hasText: 'hostile/1' });
    await row.waitFor();
    assert.ok((await row.textContent()).includes(JSON.stringify(image)));
    assert.doesNotMatch(await row.textContent(), /[\u0000\u001b\u2028\u202e]/);
    const { events } = await look(page);
    assert.equal(events.length, 1);
    assert.equal(events[0].data.control, control);
    assert.equal(await page.locator('#events img, #events script, #events a').count(), 0);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
  });

  test('fits narrow and wide screens', async (t) => {
    const demo = await Bridge.start(t);
    const topic = `wide/${'w'.repeat(128)}`;
    for (const width of [360, 1440]) {
      const page = await visit(demo, { query: '?topic=demo/**&topic=wide/*', viewport: { width, height: 800 } });
      await inState(page, 'open');
      await demo.publish(topic, { ['k'.repeat(300)]: 'v'.repeat(3000) });
      await page.locator('#events .row', { hasText: topic }).waitFor();
      await page.locator('#board .card').first().waitFor();
      const content = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(content <= width, `${content} px of content on ${width} px`);
    }
  });
});
