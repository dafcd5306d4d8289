import { defineConfig } from "vite";

// The pages find the hashed files by the manifest; `base` is where the server mounts the folder.
export default defineConfig({
  base: "/assets/",
  build: {
    outDir: "../src/everloop/server/_ui",
    emptyOutDir: true,
    assetsDir: "",
    manifest: true,
    // What is bundled is named, with its licence, in a file beside it.
    license: { fileName: "licenses.md" },
    target: "es2022",
    // light-dark() is left as it is written: every browser since May 2024 knows it.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
    reportCompressedSize: true,
    rolldownOptions: {
      // htmx can evaluate filters in attributes; the pages turn that off (allowEval) and their CSP forbids it.
      checks: { eval: false },
      input: { main: "src/main.ts", theme: "src/theme.ts", style: "src/style.css" },
    },
  },
});
