// Builds the page: `npm run build [-- DIR]`. The default DIR is lfm_jax/export/web_page, where the wheel and `lfm demo` look.
// The model is not part of it: `lfm demo` puts it beside the page, so that one build serves all weights.

import { build } from "esbuild";
import { copyFile, mkdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../lfm_jax/export/web_page");
const runtime = join(here, "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm");

const options = { absWorkingDir: here, bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "eof", logLevel: "warning" };
// The worker is embedded as text in the page's script: started from there it obeys the page's policy, from a file it would not.
const worker = await build({ ...options, entryPoints: ["src/worker.ts"], write: false, charset: "ascii" });

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  ...options,
  entryPoints: ["src/main.ts"],
  outfile: join(out, "page.js"),
  define: { WORKER: JSON.stringify(worker.outputFiles[0].text) },
});
for (const name of ["index.html", "page.css", "icon.svg"]) await copyFile(join(here, name), join(out, name));
await copyFile(runtime, join(out, "onnxruntime.wasm"));
