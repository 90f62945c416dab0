// Native EventSources behind the reverse proxies of deploy: they survive a restart of the bridge without a line of code.
//
// Run with: npm ci && npm test. See bridge.js for its environment.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Bridge, Process, certify, freePorts, launch, patience, scratch, serveSite, skip } from '../bridge.js';

// The proxies read the configuration that is shipped. What is replaced moves them to this machine: their own address, the
// bridge's, and where they find or write files.
const proxies = {
  nginx: {
    file: 'nginx.conf',
    edits: ({ address, bridge, dir }) => [
      ['listen 443 ', `listen ${address} `],
      ['server 127.0.0.1:8080;', `server ${bridge.public};`],
      ['/etc/nginx/tls/', `${dir}/`],
      ...['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => ['http {', `http {\n${name}_temp_path ${dir}/${name};`]),
    ],
    arguments: (config, dir) => [
      '-c', config, '-p', dir, '-e', 'stderr', '-g', `daemon off; error_log stderr; pid ${dir}/nginx.pid;`,
    ],
  },
  haproxy: {
    file: 'haproxy.cfg',
    edits: ({ address, bridge, dir }) => [
      ['bind :443 ', `bind ${address} `],
      ['server bridge 127.0.0.1:8080 check port 9090 ', `server bridge ${bridge.public} check port ${bridge.ops.split(':')[1]} `],
      ['/etc/haproxy/tls.pem', `${dir}/tls.pem`],
      ['maxconn 30000', 'maxconn 100'], // a test may open few files
    ],
    arguments: (config) => ['-db', '-f', config],
  },
};

const installed = (name) => [...process.env.PATH.split(path.delimiter), '/usr/sbin']
  .map((dir) => path.join(dir, name)).find(existsSync);
const missing = (name) => !process.env.CI && !installed(name) && `${name} is not installed: run make proxies`;

// startProxy runs a proxy before a bridge and returns the origin that browsers see.
async function startProxy(t, name, bridge) {
  const dir = mkdtempSync(path.join(scratch, `${name}-`));
  const { cert, key } = certify(dir);
  writeFileSync(path.join(dir, 'tls.pem'), readFileSync(key, 'utf8') + readFileSync(cert, 'utf8'));
  const [port] = await freePorts(1);
  const proxy = proxies[name];
  let content = readFileSync(path.join(import.meta.dirname, '../../deploy', proxy.file), 'utf8');
  for (const [old, replacement] of proxy.edits({ address: `127.0.0.1:${port}`, bridge, dir })) {
    assert.ok(content.includes(old), `${proxy.file} has no ${old}`);
    content = content.replaceAll(old, () => replacement);
  }
  const config = path.join(dir, proxy.file);
  writeFileSync(config, content);
  const running = new Process(installed(name) ?? name, ...proxy.arguments(config, dir));
  t.after(() => running.stop('SIGTERM'));
  await running.until(() => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); }).on('error', () => resolve(false));
  }));
  return `https://127.0.0.1:${port}`;
}

// startTown starts a bridge that lets pages of one more origin read, and a proxy before it.
async function startTown(t, proxy) {
  const listed = await serveSite(t);
  const config = path.join(mkdtempSync(path.join(scratch, 'proxy-')), 'config.yaml');
  writeFileSync(config, JSON.stringify({ public: { origins: [listed] } })); // JSON is YAML
  const bridge = await Bridge.start(t, 'serve', '--dev', '--config', config);
  return { bridge, listed, own: await startProxy(t, proxy, bridge) };
}

let browser;

// subscribe opens a page of an origin with one EventSource. Its listeners only take down what comes.
async function subscribe({ bridge, own }, origin) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  bridge.visits.push(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(`${origin}/`); // of the proxy, its own 404
  await page.evaluate((url) => {
    const source = new EventSource(url, { withCredentials: true });
    const seen = { opens: 0, away: 0, events: [] };
    source.addEventListener('ssebridge.open', () => { seen.opens++; });
    source.addEventListener('ssebridge.reconnect', (event) => { seen.away += JSON.parse(event.data).reason === 'unavailable'; });
    source.addEventListener('message', (event) => seen.events.push([event.lastEventId, JSON.parse(event.data).data.n]));
    Object.assign(window, { source, seen });
  }, `${own}/v1/events?topic=restarts/*`);
  return page;
}

// reached waits until every page has counted this far. A page that has given up would count no further: CLOSED is final.
const reached = (pages, what, count) => Promise.all(pages.map(async (page) => {
  const state = await page.waitForFunction(([name, want]) => {
    const { [name]: have } = window.seen;
    return window.source.readyState === EventSource.CLOSED ? 'given up' : (have.length ?? have) >= want && 'reached';
  }, [what, count]);
  assert.equal(await state.jsonValue(), 'reached', `${what}: ${JSON.stringify(await page.evaluate(() => window.seen))}`);
}));

const restarts = [
  { signal: 'SIGTERM', away: 0, what: 'stopped and started' },
  { signal: 'SIGKILL', away: 2, what: 'killed, and started when each browser has tried twice in vain' },
];

// The tests wait more than they work.
describe('EventSources behind a proxy', { skip, concurrency: 4 }, () => {
  before(async () => { browser = await launch(); });
  after(() => browser?.close());

  for (const proxy of Object.keys(proxies)) {
    for (const { signal, away, what } of restarts) {
      test(`${proxy}: all arrives once in order when the bridge is ${what}`, { skip: missing(proxy) }, async (t) => {
        const town = await startTown(t, proxy);
        const { bridge } = town;
        const pages = [await subscribe(town, town.own), await subscribe(town, town.listed)];
        const published = [];
        const publish = async () => {
          const n = published.length + 1;
          published.push([await bridge.publish(`restarts/${n % 2}`, { n }), n]);
        };
        await reached(pages, 'opens', 1);
        for (let i = 0; i < 3; i++) await publish();
        await reached(pages, 'events', published.length);

        await publish(); // perhaps not delivered before the end
        assert.equal(await bridge.stop(signal), signal === 'SIGTERM' ? 0 : signal);
        await reached(pages, 'away', away);
        await bridge.start();
        for (let i = 0; i < 3; i++) await publish(); // as a rule before the browsers are back
        await reached(pages, 'opens', 2);
        await publish(); // what should not come would have come before it
        await reached(pages, 'events', published.length);

        for (const page of pages) {
          const seen = await page.evaluate(() => ({ ...window.seen, state: window.source.readyState }));
          assert.deepEqual(seen.events, published);
          assert.equal(seen.state, 1, 'OPEN now, so never CLOSED');
          assert.equal(seen.opens, 2, 'lost once');
        }
      });
    }
  }
});
