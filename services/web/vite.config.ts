import react from "@vitejs/plugin-react"
import { defineConfig } from "vite"

// `npm run dev` serves the pages and passes everything else on to a stack that `make up` runs.
const API = process.env.TRAINYARD_URL ?? "http://127.0.0.1:8000"

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // What a page's policy does not allow: the API serves the pages with `script-src 'self'`.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(
      ["/auth", "/account", "/files", "/ml", "/models", "/health"].map((path) => [path, API]),
    ),
  },
})
