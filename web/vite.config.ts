import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** The service that `npm run dev` forwards requests to. */
const service = process.env.CANDLEWICK_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // Every asset is a file of its own: the content security policy allows no inline resources.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "licenses.txt" },
    rolldownOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  css: { modules: { generateScopedName: "[name]_[local]" } },
  server: {
    proxy: {
      "/v1/stream": { target: service, ws: true },
      "/v1": service,
      "/health": service,
      "/docs": service,
      "/openapi.json": service,
    },
  },
  test: { include: ["src/**/*.test.ts"] },
});
