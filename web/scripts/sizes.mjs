// Prints the compressed sizes of the build and fails if one exceeds its limit.
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const LIMITS = { "first load": 95, chart: 60, all: 170 };
const folder = new URL("../dist/", import.meta.url);

const gzip = (file) => gzipSync(readFileSync(new URL(file, folder)), { level: 9 }).length;
const assets = readdirSync(new URL("assets/", folder)).filter((name) => /\.(js|css)$/.test(name));
const sizes = new Map(assets.map((name) => [`assets/${name}`, gzip(`assets/${name}`)]));

// The first load is the page and what it names; everything else is loaded on demand.
const html = readFileSync(new URL("index.html", folder), "utf8");
const first = [...html.matchAll(/(?:src|href)="\/(assets\/[^"]+)"/g)].map(([, name]) => name);
const sum = (names) => names.reduce((total, name) => total + (sizes.get(name) ?? 0), 0);
const totals = {
  "first load": sum(first) + gzip("index.html"),
  chart: sum([...sizes.keys()].filter((name) => name.startsWith("assets/chart-panel"))),
  all: sum([...sizes.keys()]) + gzip("index.html"),
};

let isTooLarge = false;
for (const [name, size] of sizes) console.log(`${(size / 1000).toFixed(1).padStart(7)} kB  ${name}`);
for (const [name, limit] of Object.entries(LIMITS)) {
  const kilobytes = totals[name] / 1000;
  isTooLarge ||= kilobytes > limit;
  console.log(`${kilobytes.toFixed(1).padStart(7)} kB  ${name}, at most ${limit}`);
}
if (isTooLarge) {
  console.error("the dashboard exceeds its size limit");
  process.exit(1);
}
