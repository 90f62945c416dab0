// The program and the browser of the tests.
//
// Environment: SSEBRIDGE_BIN, the program to test (built from this repository if unset); CHROMIUM, the browser.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
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
  for (const child of running) child.kill('SIGKILL');
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

// freePorts holds all of them until it has them all, so that none is given twice.
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve, reject) => {
    const server = createServer().on('error', reject).listen(0, '127.0.0.1', () => resolve(server));
  })));
  return Promise.all(servers.map((server) => {
    const { port } = server.address();
    return new Promise((resolve) => { server.close(() => resolve(port)); });
  }));
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
    const child = spawn(program, [...this.command, '--data-dir', this.dir,
      '--public-addr', this.public, '--internal-addr', this.internal, '--ops-addr', this.ops]);
    running.add(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => { output = (output + chunk).slice(-4000); });
    }
    this.child = child;
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => resolve(String(error)));
      child.once('exit', (code, signal) => { running.delete(child); resolve(signal ?? code); });
    });
    let status;
    this.exited.then((result) => { status = result; });
    for (const deadline = Date.now() + patience; Date.now() < deadline; await delay(20)) {
      if (status !== undefined) throw new Error(`ssebridge ended (${status}):\n${output}`);
      const ready = await fetch(`http://${this.ops}/readyz`).then((response) => response.status === 200, () => false);
      if (ready) return;
    }
    throw new Error(`ssebridge is not ready:\n${output}`);
  }

  // stop returns the exit code, or the signal that ended the program.
  async stop(signal) {
    this.child.kill(signal);
    return this.exited;
  }

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
