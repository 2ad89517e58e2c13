// Starts the built service on simulated data for the browser tests.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = new URL("../../", import.meta.url).pathname;

/** The binary: CANDLEWICK_BINARY, or the debug build. */
export function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  const path = process.env.CANDLEWICK_BINARY ?? join(target, "debug/candlewick");
  if (!existsSync(path)) throw new Error(`${path} does not exist: run \`cargo build\` first`);
  return path;
}

/** A port that is free now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Calls `check` until it returns a value that is not undefined or false. */
export async function until(what, check, timeoutMs = 20_000) {
  const end = Date.now() + timeoutMs;
  let failure = "";
  while (Date.now() < end) {
    try {
      const result = await check();
      if (result !== undefined && result !== false) return result;
    } catch (error) {
      failure = `: ${error.message}`;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what}: not within ${timeoutMs} ms${failure}`);
}

/** A running service. Its settings are those of a new installation without a network. */
export class Service {
  constructor(port, folder, settings) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.folder = folder;
    this.settings = settings;
  }

  static async start(settings = {}) {
    const folder = mkdtempSync(join(tmpdir(), "candlewick-e2e-"));
    const service = new Service(await freePort(), folder, settings);
    await service.run();
    return service;
  }

  get environment() {
    return {
      PATH: process.env.PATH,
      CANDLEWICK__SERVER__LISTEN: `127.0.0.1:${this.port}`,
      CANDLEWICK__STORE__URL: `sqlite://${this.folder}/candlewick.db`,
      CANDLEWICK__DATA: "simulated",
      CANDLEWICK__LIMITS__PER_MINUTE: "6000",
      CANDLEWICK__LOG__LEVEL: "warn",
      ...this.settings,
    };
  }

  async run() {
    this.process = spawn(binary(), ["serve"], { cwd: this.folder, env: this.environment, stdio: "inherit" });
    await until("the service is ready", async () => (await fetch(`${this.url}/readyz`)).ok);
  }

  /** Ends the process without a shutdown. */
  async kill() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async get(path) {
    const response = await fetch(`${this.url}${path}`);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Runs another command of the binary with the settings of this service; returns its output. */
  command(...args) {
    return new Promise((resolve, reject) => {
      const child = spawn(binary(), args, {
        cwd: this.folder,
        env: this.environment,
        stdio: ["ignore", "pipe", "ignore"],
      });
      let output = "";
      child.stdout.on("data", (data) => {
        output += data;
      });
      child.once("error", reject);
      child.once("exit", (code) =>
        code === 0 ? resolve(output.trim()) : reject(new Error(`exit code ${code}`)),
      );
    });
  }
}

/** Simulated exchanges with scripted faults, for a service with live data. */
export class Exchanges {
  static async start(faults) {
    const exchanges = new Exchanges();
    exchanges.folder = mkdtempSync(join(tmpdir(), "candlewick-e2e-"));
    const script = join(exchanges.folder, "faults.jsonl");
    writeFileSync(script, faults.map((fault) => `${JSON.stringify(fault)}\n`).join(""));
    const port = await freePort();
    exchanges.address = `127.0.0.1:${port}`;
    const args = ["simulate", "--seed", "7", "--listen", exchanges.address, "--faults", script];
    exchanges.process = spawn(binary(), args, { stdio: "ignore" });
    await until("the exchanges accept connections", async () => {
      await fetch(`http://${exchanges.address}/api/v3/time`);
      return true;
    });
    return exchanges;
  }

  /** Settings of a service that collects Binance from these exchanges. */
  get settings() {
    const disabled = ["KRAKEN", "COINBASE", "OKX", "BYBIT"].map((name) => [
      `CANDLEWICK__EXCHANGES__${name}__ENABLED`,
      "false",
    ]);
    return {
      CANDLEWICK__DATA: "live",
      CANDLEWICK__EXCHANGES__BINANCE__REST_URL: `http://${this.address}`,
      CANDLEWICK__EXCHANGES__BINANCE__WS_URL: `ws://${this.address}`,
      ...Object.fromEntries(disabled),
    };
  }

  stop() {
    this.process.kill("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }
}
