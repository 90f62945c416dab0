// The programs and the browser of the tests.
//
// Environment: SSEBRIDGE_BIN, the program to test (built from this repository if unset); CHROMIUM, the browser.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
export const skip = !process.env.CI && !existsSync(executablePath)
  && `there is no ${executablePath}: install Chromium (Debian: apt install chromium), or name yours with CHROMIUM=/path`;
export const patience = 20_000; // ms for any one thing to happen; a wait ends as soon as it has

export const scratch = mkdtempSync(path.join(tmpdir(), 'ssebridge-web-'));
const running = new Set();
process.on('exit', () => {
  for (const one of running) one.signal('SIGKILL');
  rmSync(scratch, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

let program = process.env.SSEBRIDGE_BIN;

function build() {
  if (program) return;
  program = path.join(scratch, 'ssebridge');
  execFileSync('go', ['build', '-o', program, './cmd/ssebridge'], {
    cwd: path.join(import.meta.dirname, '..'), stdio: 'inherit',
  });
}

// run runs a command of the program to its end and returns what it prints.
export function run(...command) {
  build();
  return execFileSync(program, command, { stdio: ['ignore', 'pipe', 'pipe'] }).toString().trim();
}

// certify writes a certificate for 127.0.0.1, which no browser trusts, and its key.
export function certify(dir) {
  const [cert, key] = ['tls.crt', 'tls.key'].map((name) => path.join(dir, name));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '1',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return { cert, key };
}

// serveSite serves an empty page on a port, which makes an origin, of its own.
export async function serveSite(t) {
  const server = http.createServer((_, response) => response.setHeader('Content-Type', 'text/html').end('<title>site</title>'));
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

// freePorts holds all of them until it has them all, so that none is given twice.
export async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => resolve(server));
  })));
  return Promise.all(servers.map((server) => {
    const { port } = server.address();
    return new Promise((resolve) => { server.close(() => resolve(port)); });
  }));
}

// Process is a program that runs beside the tests, and ends with them at the latest. What it starts is in its process group
// and gets each signal too, so that no worker is left behind.
export class Process {
  constructor(file, ...args) {
    this.name = path.basename(file);
    this.output = ''; // the end of what it has said
    this.child = spawn(file, args, { detached: true });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on('data', (chunk) => { this.output = (this.output + chunk).slice(-4000); });
    }
    running.add(this);
    this.exited = new Promise((resolve) => {
      const end = (status) => { running.delete(this); this.status = status; resolve(status); };
      this.child.once('error', (error) => end(String(error)));
      this.child.once('exit', (code, signal) => end(signal ?? code));
    });
  }

  // until waits until ready() resolves to true.
  async until(ready) {
    for (const deadline = Date.now() + patience; Date.now() < deadline; await delay(20)) {
      if (this.status !== undefined) throw new Error(`${this.name} ended (${this.status}):\n${this.output}`);
      if (await ready()) return;
    }
    throw new Error(`${this.name} is not ready:\n${this.output}`);
  }

  signal(signal) {
    if (this.status === undefined && this.child.pid) process.kill(-this.child.pid, signal);
  }

  // stop returns the exit code, or the signal that ended the program.
  async stop(signal) {
    this.signal(signal);
    return this.exited;
  }
}

// Bridge is `ssebridge demo`, or the command that is given, on ports and a data directory of its own, which it keeps when
// it is started again. Its internal and ops listeners are in cleartext.
export class Bridge {
  static async start(t, ...command) {
    build();
    const bridge = new Bridge();
    bridge.command = command.length > 0 ? command : ['demo'];
    bridge.visits = [];
    bridge.dir = mkdtempSync(path.join(scratch, 'data-'));
    const [pub, internal, ops] = await freePorts(3);
    Object.assign(bridge, { public: `127.0.0.1:${pub}`, internal: `127.0.0.1:${internal}`, ops: `127.0.0.1:${ops}` });
    t.after(async () => {
      try {
        for (const leave of bridge.visits) await leave(); // first, or they complain of the server's end
      } finally {
        await bridge.stop('SIGKILL');
      }
    });
    await bridge.start();
    return bridge;
  }

  async start() {
    this.process = new Process(program, ...this.command, '--data-dir', this.dir,
      '--public-addr', this.public, '--internal-addr', this.internal, '--ops-addr', this.ops);
    await this.process.until(() => fetch(`http://${this.ops}/readyz`).then((response) => response.status === 200, () => false));
  }

  // stop returns the exit code, or the signal that ended the program.
  async stop(signal) {
    return this.process.stop(signal);
  }

  // publish stores one event and returns its cursor.
  async publish(topic, value) {
    const data = { '@type': 'type.googleapis.com/google.protobuf.Struct', value };
    const response = await fetch(`http://${this.internal}/ssebridge.v1.PublishService/PublishBatch`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ events: [{ topic, data }] }),
    });
    const text = await response.text();
    assert.equal(response.status, 200, text);
    const { results } = JSON.parse(text);
    assert.equal(results?.[0]?.error, undefined, text);
    assert.ok(results[0].cursor, text);
    return results[0].cursor;
  }
}

// launch starts the browser.
export function launch() {
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'],
  });
}
