// The demo page: one EventSource, everything that arrives on it, and the proof that nothing is missing.
//
// window.ssebridge is for the console and for tests: what has arrived since the last "Apply", newest last, at most
// `kept` of each.
const hook = window.ssebridge = {
  events: [], // CloudEvents objects, each with its SSE id as `cursor` and `late`: it was published while we were away
  ticks: [], // numbers of the ticks of demo/ticks, in the order of their arrival
  state: 'connecting', // connecting, open, reconnecting, paused or closed
  lastEventId: '',
  opens: 0, // how many times the bridge has greeted us
  resets: [], // reasons of ssebridge.reset
  missed: 0, // ticks left out
  repeated: 0, // ids or ticks that came twice
};

const kept = 2_000; // what window.ssebridge holds, so that a page left open does not grow for ever
const idLimit = 20_000; // how far back a repeated id is noticed
const rowLimit = 200;
const tickLimit = 60;
const silenceLimit = 45_000; // ms; the bridge speaks every 15 s ± 20 %, so two beats may be lost
const settleLimit = 5_000; // ms after a return in which a late event still counts as one of the absence

const byId = (id) => document.getElementById(id);
const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
const count = (n, noun) => `${n} ${noun}${n === 1 ? '' : 's'}`;

// element builds an element. Strings become text nodes, which is the only way that data gets into the page.
function element(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

function remember(list, item) {
  list.push(item);
  if (list.length > kept) list.shift();
}

// --- The subscription: what is asked for ---

const page = new URLSearchParams(location.search);
const defaultTopics = lines(byId('topics').defaultValue);
const subscription = {
  topics: page.getAll('topic').length ? page.getAll('topic') : defaultTopics,
  since: page.get('since') ?? '',
};

function lines(text) {
  return text.split('\n').map((line) => line.trim()).filter(Boolean);
}

// requestPath leaves "/" and its like readable: a query may hold them as they are.
function requestPath(since) {
  const encode = (text) => encodeURIComponent(text).replace(/%(2F|3A|40|24)/g, decodeURIComponent);
  const query = subscription.topics.map((topic) => `topic=${encode(topic)}`);
  if (since) query.push(`since=${encode(since)}`);
  return `/v1/events?${query.join('&')}`;
}

// --- The connection ---

let source = null;
let reader = ''; // the name that the bridge has given to this stream
let openedAt = 0;
let heardAt = 0; // the last sign of life
let farewell = ''; // why the bridge said that it would end the stream
let dropping = false; // the user has asked the server to cut the stream
let retryTimer = 0;
let retryAt = 0;

function connect(since) {
  disconnect();
  const path = requestPath(since);
  source = new EventSource(path);
  const current = source;
  const listen = (name, handle) => current.addEventListener(name, (message) => {
    if (current !== source) return;
    heardAt = Date.now();
    // The bridge's own events have ids too, so that a page on quiet topics keeps its place.
    if (message.lastEventId) hook.lastEventId = message.lastEventId;
    handle(message);
    changed();
  });
  listen('message', received);
  listen('ssebridge.open', opened);
  listen('ssebridge.heartbeat', () => {});
  listen('ssebridge.reset', wasReset);
  listen('ssebridge.reconnect', (message) => {
    farewell = parse(message.data)?.reason ?? '';
    addNote('ssebridge.reconnect', `The bridge ends this stream: ${farewell}.`, message.lastEventId);
  });
  listen('ssebridge.expired', (message) => {
    addNote('ssebridge.expired', 'The right to read has ended.', message.lastEventId);
  });
  current.addEventListener('error', () => {
    if (current !== source) return;
    lost();
    if (current.readyState === EventSource.CLOSED) explain(current, path);
  });
  byId('request').textContent = `GET ${location.origin}${path}`;
  changed();
}

function disconnect() {
  clearTimeout(retryTimer);
  retryAt = 0;
  reader = '';
  source?.close();
  source = null;
}

function opened(message) {
  reader = parse(message.data)?.reader ?? '';
  farewell = '';
  hook.opens++;
  openedAt = Date.now();
  setState('open');
  const text = hook.opens === 1 ? 'Connected.' : 'Connected again, from the place after this id.';
  addNote('ssebridge.open', text, message.lastEventId);
  if (absence) absence.returnedAt = openedAt;
}

function lost(kind = dropping ? 'dropped' : 'lost') {
  beginAbsence(kind);
  dropping = false;
  reader = '';
  setState('reconnecting');
}

function wasReset(message) {
  const reason = parse(message.data)?.reason ?? '';
  remember(hook.resets, reason);
  resetAnnounced = true;
  const text = `Events may be missing before this place: ${reason}.`;
  addNote('ssebridge.reset', text, message.lastEventId, 'bad');
  if (!absence) report(text, 'bad');
}

// explain finds out why EventSource has given up, which it does not say: the answer to the same request does. What
// may pass, such as a proxy without a backend, is tried again.
async function explain(current, path) {
  let text, passing;
  try {
    const response = await fetch(path, { headers: { Accept: 'text/event-stream' }, cache: 'no-store' });
    passing = response.ok || response.status === 429 || response.status >= 500;
    text = response.ok ? 'interrupted' : await problemText(response);
    response.body?.cancel().catch(() => {}); // a stream that we do not want; it may be read already
  } catch {
    passing = true;
    text = 'the server cannot be reached';
  }
  if (current !== source) return;
  if (passing) {
    const wait = 2000 + Math.random() * 3000;
    retryAt = Date.now() + wait;
    retryTimer = setTimeout(() => connect(hook.lastEventId || subscription.since), wait);
    addNote('this page', `The browser has given up: ${text}. This page tries again.`, '', 'bad');
  } else {
    disconnect();
    absence = null;
    setState('closed');
    byId('topics-error').textContent = text;
    byId('topics').setAttribute('aria-invalid', 'true');
    report(`The server has refused: ${text}`, 'bad');
    addNote('this page', `The server has refused: ${text}`, '', 'bad');
  }
  changed();
}

// problemText reads an RFC 9457 problem, and whatever else a server or proxy may answer.
async function problemText(response) {
  const text = await response.text();
  const problem = /json/.test(response.headers.get('Content-Type')) ? parse(text) : null;
  return `${response.status} ${problem?.detail ?? problem?.title ?? text.slice(0, 300)}`.trim();
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function setState(state) {
  hook.state = state;
  changed();
}

// --- The check: what has arrived, and what has not ---

const ids = new Set();
let lastTick = null;
let resetAnnounced = false; // after a reset the next tick begins a new count
let clockLead = null; // ms, the smallest lag seen from an event's time to its arrival: our clock against theirs

function received(message) {
  const event = parse(message.data);
  if (!event) return;
  event.cursor = message.lastEventId;
  event.late = publishedWhileAway(event);
  clockLead = Math.min(clockLead ?? Infinity, Date.now() - Date.parse(event.time));
  remember(hook.events, event);
  const known = ids.has(event.cursor);
  if (known) hook.repeated++;
  ids.add(event.cursor);
  if (ids.size > idLimit) ids.delete(ids.values().next().value);
  total++;
  if (event.type === 'demo.v1.Tick' && event.subject === 'demo/ticks') ticked(event, known);
  if (event.type === 'demo.v1.OrderUpdated') ordered(event);
  addEvent(event);
  pulse();
  settle(!event.late);
}

function ticked(event, known) {
  const number = Number(event.data?.number ?? 0); // int64 is a string in JSON, and left out if 0
  if (!Number.isSafeInteger(number)) return;
  const expected = lastTick === null ? number : lastTick + 1;
  if (number > expected) {
    hook.missed += number - expected;
    addTicks('missing', Math.min(number - expected, tickLimit));
  } else if (number < expected && !resetAnnounced && !known) {
    hook.repeated++;
  }
  resetAnnounced = false;
  lastTick = number;
  remember(hook.ticks, number);
  addTicks(event.late ? 'late' : 'live', 1);
  byId('tick').textContent = number.toLocaleString('en');
  byId('server-time').textContent = `server time ${clock(event.data?.serverTime)}`;
}

let total = 0;

function forget() {
  for (const list of [hook.events, hook.ticks, hook.resets]) list.length = 0;
  Object.assign(hook, { lastEventId: '', opens: 0, missed: 0, repeated: 0 });
  ids.clear();
  orders.clear();
  rows.length = 0;
  total = 0;
  lastTick = null;
  resetAnnounced = false;
  absence = null;
  for (const id of ['events', 'ticks']) byId(id).replaceChildren();
  byId('tick').textContent = '–';
  byId('server-time').textContent = '';
  drawBoard();
}

// --- Absences: the time between a connection and the next ---

let absence = null;

function beginAbsence(kind) {
  settle(true);
  if (absence) { // it has not been settled, so it goes on
    if (kind === 'paused') absence.kind = kind;
    if (!absence.returnedAt) return report(absenceText(), 'busy');
    absence.returnedAt = 0;
  } else {
    absence = {
      kind, at: Date.now(), returnedAt: 0, arrived: 0, farewell, tick: lastTick,
      missed: hook.missed, repeated: hook.repeated, resets: hook.resets.length, first: hook.opens === 0,
    };
  }
  if (!absence.first && (kind === 'lost' || kind === 'dropped')) {
    addNote('this page', 'The connection is gone. The browser reconnects by itself.');
  }
  report(absenceText(), 'busy');
}

function publishedWhileAway(event) {
  if (!absence?.returnedAt || absence.first) return false;
  if (Date.parse(event.time) + (clockLead ?? 0) >= absence.returnedAt) return false;
  absence.arrived++;
  return true;
}

// settle ends an absence once the present has been reached: an event arrived that was published after the return,
// or nothing has for a while. Where there are ticks, one of them has to prove that none is missing.
function settle(present) {
  if (!absence?.returnedAt) return;
  const waited = Date.now() - absence.returnedAt > settleLimit;
  const proven = absence.tick === null || lastTick !== absence.tick;
  if (waited || present && proven) {
    if (absence.first) report('Connected.', 'good');
    else report(...returnText());
    absence = null;
  } else {
    report(absenceText(), 'busy');
  }
}

function absenceText() {
  if (absence.returnedAt) return `Back after ${seconds(absence.returnedAt - absence.at)}, catching up …`;
  if (absence.first && absence.kind === 'lost') return 'The server does not answer. The browser keeps trying.';
  const said = absence.farewell ? `; the bridge said why: ${absence.farewell}` : '';
  return {
    paused: 'Paused: the connection is closed. What is published now waits in the log for you.',
    dropped: 'The server has cut this connection. The browser comes back by itself in 1 to 5 s; publishing goes on.',
    lost: `The connection is lost${said}. The browser keeps trying by itself, and asks for what follows the last id.`,
    silent: 'The connection is dead: not even a heartbeat has come. A new one takes over.',
  }[absence.kind];
}

function returnText() {
  const away = seconds(absence.returnedAt - absence.at);
  const lead = {
    paused: 'Resumed', dropped: 'Dropped, and back', lost: 'Lost, and back', silent: 'Silent, and replaced',
  }[absence.kind];
  const meanwhile = absence.kind === 'paused' ? 'while paused' : 'meanwhile';
  const events = `${count(absence.arrived, 'event')} arrived that ${absence.arrived === 1 ? 'was' : 'were'} published`;
  const text = `${lead} after ${away}. ${events} ${meanwhile}`;
  const missed = hook.missed - absence.missed;
  const repeated = hook.repeated - absence.repeated;
  const resets = hook.resets.slice(absence.resets);
  if (resets.length) {
    return [`${text}. The bridge could not go on from there (${resets.join(', ')}): events may be missing.`, 'bad'];
  }
  if (missed || repeated) return [`${text}; ${count(missed, 'tick')} missing, ${repeated} repeated.`, 'bad'];
  if (absence.tick === null) return [`${text}; none repeated, and the bridge reports none missing.`, 'good'];
  return [`${text}; none missing, none repeated: ticks ${absence.tick} to ${lastTick} follow one another.`, 'good'];
}

function report(text, tone) {
  const node = byId('report');
  if (node.textContent !== text) node.textContent = text; // a screen reader says it once
  node.dataset.tone = tone;
}

// --- Rows of the stream ---

const rows = []; // not in the document yet: one frame takes a whole burst

function addRow(row) {
  rows.push(row);
  if (rows.length > rowLimit) rows.shift();
  changed();
}

function addEvent(event) {
  addRow({ kind: 'event', at: Date.now(), event });
}

function addNote(name, text, id = '', tone = '') {
  addRow({ kind: 'note', at: Date.now(), name, text, id, tone });
}

function rowNode({ kind, at, event, name, text, id, tone }) {
  const time = element('time', '', clock(at));
  if (kind === 'note') {
    const node = element('li', 'row note',
      time, element('span', 'type', name), element('span', 'id', id), element('p', '', text));
    node.dataset.tone = tone;
    return node;
  }
  const node = element('li', 'row',
    time, element('span', 'type', event.type), element('span', 'topic', event.subject),
    element('span', 'id', event.cursor), jsonNode(event.data));
  if (event.late) node.dataset.late = '';
  return node;
}

function jsonNode(data) {
  const limit = 8000; // an event may have 256 KiB
  const flat = visible(JSON.stringify(data) ?? '');
  const text = flat.length <= limit ? pretty(data, 0) : `${flat.slice(0, limit)} … and ${flat.length - limit} more`;
  const node = element('pre', 'json');
  let end = 0;
  for (const token of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d[\d.eE+-]*/g)) {
    node.append(text.slice(end, token.index));
    const kind = token[2] ? 'key' : token[1] ? 'string' : 'literal';
    node.append(element('span', kind, token[1] ?? token[0]), token[2] ?? '');
    end = token.index + token[0].length;
  }
  node.append(text.slice(end));
  return node;
}

// pretty breaks only what does not fit in a line, so that small events stay small.
function pretty(value, depth) {
  const flat = visible(JSON.stringify(value) ?? '');
  if (flat.length + 2 * depth <= 72 || depth > 8 || value === null || typeof value !== 'object') {
    return flat.length <= 72 ? spaced(flat) : flat;
  }
  const indent = '  '.repeat(depth + 1);
  const inner = Array.isArray(value)
    ? value.map((item) => indent + pretty(item, depth + 1))
    : Object.entries(value).map(([key, item]) => (
      `${indent}${visible(JSON.stringify(key))}: ${pretty(item, depth + 1)}`));
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return `${open}\n${inner.join(',\n')}\n${'  '.repeat(depth)}${close}`;
}

// spaced puts a space behind the colons and commas that stand between tokens.
function spaced(flat) {
  return flat.replace(/"(?:[^"\\]|\\.)*"|[:,]/g, (token) => (token.length === 1 ? `${token} ` : token));
}

// visible writes out the characters that would change how their neighbours look, such as those that turn the
// direction of writing; JSON itself escapes the rest.
function visible(text) {
  return text.replace(/[\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function clock(time) {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '–';
  const digits = (n, width = 2) => String(n).padStart(width, '0');
  return `${digits(date.getHours())}:${digits(date.getMinutes())}:${digits(date.getSeconds())}`
    + `.${digits(date.getMilliseconds(), 3)}`;
}

// --- The demo's own events: a strip of ticks and a board of orders ---

const steps = ['PLACED', 'PAID', 'SHIPPED', 'DELIVERED'];
const cardLimit = 2;
const orderLimit = 500;
const orders = new Map(); // by order id, the latest changed last
let fresh = new Set(); // changed since the board was drawn

function addTicks(kind, times) {
  const strip = byId('ticks');
  for (let i = 0; i < times; i++) {
    const cell = element('i', '');
    cell.dataset.kind = kind;
    strip.append(cell);
  }
  while (strip.childElementCount > tickLimit) strip.firstChild.remove();
}

function ordered({ data }) {
  const id = data?.orderId;
  if (!id) return;
  orders.delete(id);
  orders.set(id, data);
  fresh.add(id);
  if (orders.size > orderLimit) orders.delete(orders.keys().next().value);
}

function drawBoard() {
  const newest = [...orders.values()].reverse();
  byId('board').replaceChildren(...steps.map((step) => {
    const here = newest.filter((order) => order.status === `ORDER_STATUS_${step}`);
    const cards = here.slice(0, cardLimit).map((order) => {
      const items = Array.isArray(order.items) ? order.items : []; // a publisher may have a schema of its own
      const goods = items.map((item) => `${item?.quantity ?? 0} × ${item?.name ?? ''}`).join(', ');
      const total = (Number(order.totalCents ?? 0) / 100).toFixed(2);
      return element('li', fresh.has(order.orderId) ? 'card fresh' : 'card',
        element('b', '', `#${order.orderId}`), element('span', 'total', total), element('span', 'items', goods));
    });
    const more = here.length - cards.length;
    return element('div', 'lane', element('h3', '', step.toLowerCase(), element('span', 'muted', String(here.length))),
      element('ol', '', ...cards), element('p', 'more muted', more > 0 ? `and ${more} more` : ''));
  }));
  fresh = new Set();
}

let pulsedAt = 0;
const still = matchMedia('(prefers-reduced-motion: reduce)');

// pulse sends a dot along the way of an event.
function pulse() {
  if (still.matches || document.hidden || Date.now() - pulsedAt < 300) return;
  pulsedAt = Date.now();
  for (const [id, delay] of [['hop-in', 0], ['hop-out', 180]]) {
    byId(id).animate(
      [{ left: '0%', opacity: 1 }, { left: '100%', opacity: 1 }],
      { duration: 360, delay, easing: 'ease-in-out', pseudoElement: '::after' },
    );
  }
}

// --- Drawing: once a frame, however much arrives ---

let drawing = false;

function changed() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  drawConnection();
  if (fresh.size) drawBoard();
  const expected = subscription.topics.some((topic) => topic.startsWith('demo/'));
  byId('demo').hidden = !expected && lastTick === null && orders.size === 0;
  byId('ticks').ariaLabel = lastTick === null ? 'No ticks yet' : `Tick ${lastTick}; missed so far: ${hook.missed}`;
  byId('empty').hidden = total > 0 || hook.state !== 'open' || Date.now() - openedAt < 1500;
  byId('resume').textContent = hook.lastEventId ? `Last-Event-ID: ${hook.lastEventId}` : '–';
  const list = byId('events');
  list.prepend(...rows.splice(0).reverse().map(rowNode));
  while (list.childElementCount > rowLimit) list.lastChild.remove();
}

const stateText = {
  connecting: 'Connecting', open: 'Open', reconnecting: 'Reconnecting', paused: 'Paused', closed: 'Closed',
};

function drawConnection() {
  const pill = byId('state');
  if (pill.dataset.state !== hook.state) {
    pill.dataset.state = hook.state;
    pill.textContent = stateText[hook.state];
  }
  byId('life').textContent = lifeText();
  byId('received').textContent = total.toLocaleString('en');
  // Only ticks can tell that something is missing: their numbers follow one another.
  byId('missed').textContent = lastTick === null ? '–' : hook.missed.toLocaleString('en');
  byId('missed-box').dataset.tone = lastTick === null ? '' : hook.missed ? 'bad' : 'good';
  byId('repeated').textContent = hook.repeated.toLocaleString('en');
  byId('repeated-box').dataset.tone = !total ? '' : hook.repeated ? 'bad' : 'good';
  byId('drop').disabled = hook.state !== 'open' || !reader;
  byId('pause').textContent = hook.state === 'paused' ? 'Resume' : 'Pause';
  byId('pause').disabled = hook.state === 'closed';
}

function lifeText() {
  const now = Date.now();
  if (hook.state === 'open') return `for ${duration(now - openedAt)} · last sign of life ${seconds(now - heardAt)} ago`;
  if (retryAt > now) return `next try in ${seconds(retryAt - now)}`;
  if (absence && !absence.returnedAt) return `for ${seconds(now - absence.at)}`;
  return '';
}

function duration(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
}

function drawCode() {
  const url = location.origin + requestPath(subscription.since);
  byId('code').textContent = [
    'const source = new EventSource(',
    `  ${JSON.stringify(url)},`,
    ');',
    'source.onmessage = (message) => {',
    '  const event = JSON.parse(message.data);',
    '  console.log(event.type, event.data);',
    '};',
  ].join('\n');
  byId('curl').textContent = `curl -N '${url.replaceAll("'", '%27')}'`;
  const example = subscription.topics[0]?.replace(/\*+/g, '1') ?? '';
  const topic = example !== '1' && /^[\w.~:@=/-]+$/.test(example) ? example : 'hello'; // it goes through a shell
  const data = { '@type': 'type.googleapis.com/google.protobuf.Struct', value: { text: 'hello, browser' } };
  const publish = [
    `curl ${byId('publish').dataset.url}/ssebridge.v1.PublishService/PublishBatch \\`,
    "  -H 'Content-Type: application/json' \\",
    `  -d '${JSON.stringify({ events: [{ topic, data }] })}'`,
  ].join('\n');
  for (const node of document.querySelectorAll('.publish')) node.textContent = publish;
}

// --- What the user does ---

function start() {
  forget();
  byId('topics-error').textContent = '';
  byId('topics').removeAttribute('aria-invalid');
  drawCode();
  setState('connecting');
  connect(subscription.since);
}

byId('subscription').addEventListener('submit', (submit) => {
  submit.preventDefault();
  subscription.topics = lines(byId('topics').value);
  subscription.since = byId('since').value;
  const query = new URLSearchParams();
  if (subscription.topics.join() !== defaultTopics.join()) {
    for (const topic of subscription.topics) query.append('topic', topic);
  }
  if (subscription.since) query.set('since', subscription.since);
  history.replaceState(null, '', query.size ? `?${query}` : location.pathname);
  start();
});

byId('drop').addEventListener('click', async () => {
  dropping = true;
  byId('drop').disabled = true;
  try {
    const response = await fetch(`/dev/drop?reader=${encodeURIComponent(reader)}`, { method: 'POST' });
    if (!response.ok) throw new Error(await problemText(response));
  } catch (error) {
    dropping = false;
    report(`The server did not drop the connection: ${error.message}`, 'bad');
  }
});

byId('pause').addEventListener('click', () => {
  if (hook.state === 'paused') {
    setState('connecting');
    connect(hook.lastEventId || subscription.since);
    return;
  }
  disconnect();
  beginAbsence('paused');
  setState('paused');
});

for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', async () => {
    const node = byId(button.dataset.copy);
    getSelection().selectAllChildren(node); // where the clipboard is not ours to write, Ctrl+C is left
    try {
      await navigator.clipboard.writeText(node.textContent);
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Press Ctrl+C';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
}

// The watchdog: a connection can be dead without an error, for example behind a network that has changed.
setInterval(() => {
  if (hook.state === 'open' && Date.now() - heardAt > silenceLimit) {
    addNote('this page', `Nothing was heard for ${seconds(Date.now() - heardAt)}. A new connection takes over.`);
    lost('silent');
    connect(hook.lastEventId);
  }
  settle(false);
  changed();
}, 250);

byId('topics').value = subscription.topics.join('\n');
if (subscription.since && ![...byId('since').options].some((option) => option.value === subscription.since)) {
  byId('since').add(new Option(`since ${subscription.since}`, subscription.since));
}
byId('since').value = subscription.since;
start();
