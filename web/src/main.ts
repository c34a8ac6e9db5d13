// The page: takes images from the file picker, from drag and drop and from the clipboard, and passes them to the worker one by one.

import { isFake, provenance, score, type Card } from "./card";
import { csv, type Record } from "./csv";
import { nameOf } from "./facts";
import { resultItem } from "./result";
import { shareOf, verdict } from "./verdict";
import type { Answer, Scored, Setup } from "./worker";

declare const WORKER: string; // the bundled worker, see build.mjs
const MOST_PICTURES = 200; // images shown with pictures; canvases would fill the memory

const [drop, input, status, progress, download, answers, results] = ["drop", "files", "status", "progress", "csv", "answers", "results"].map(
  (id) => document.getElementById(id)!,
) as [HTMLElement, HTMLInputElement, HTMLElement, HTMLProgressElement, HTMLButtonElement, HTMLElement, HTMLElement];
const records: Record[] = [];
let taken = 0; // images

/** Fetches the model, its runtime and its card, which lie beside the page. */
async function fetchSetup(): Promise<Setup> {
  const [model, runtime, card] = await Promise.all(["model.onnx", "onnxruntime.wasm", "model.onnx.card.json"].map(async (name) => {
    const answer = await fetch(name);
    if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
    return answer;
  }));
  return { model: await model!.arrayBuffer(), runtime: await runtime!.arrayBuffer(), card: await card!.json() };
}

/** From here on nothing can be sent or fetched, not even to or from this page's own host. Policies add up and cannot be revoked. */
function forbidConnections(): void {
  const policy = document.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy";
  policy.content = "default-src 'none'; script-src 'wasm-unsafe-eval'; worker-src blob:";
  document.head.append(policy);
}

/** Returns a function that sends the worker one message and resolves to its answer. Made from a blob, the worker obeys the page's policy. */
function startWorker(): (message: Setup | Blob) => Promise<Answer> {
  const worker = new Worker(URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })), { type: "module" });
  return (message) => new Promise((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
    worker.onerror = ({ message }) => resolve({ error: message || "the detector stopped" });
    worker.postMessage(message);
  });
}

async function start(): Promise<(file: File) => Promise<void>> {
  const setup = await fetchSetup();
  forbidConnections();
  const ask = startWorker();
  const answer = await ask(setup);
  if ("error" in answer) throw new Error(answer.error);
  document.getElementById("provenance")!.append(...provenance(setup.card).map((textContent) => Object.assign(document.createElement("li"), { textContent })));
  status.textContent = "Ready.";
  return async (file) => show(file, await ask(file), setup.card);
}

function show(file: File, answer: Answer, card: Card): void {
  const scored = "scored" in answer ? answer.scored : undefined;
  const record: Record = scored ? toRecord(file, scored, card) : { path: file.name, error: (answer as { error: string }).error };
  results.append(resultItem(record, card, records.length < MOST_PICTURES ? scored : undefined));
  records.push(record);
  answers.hidden = false;
}

function toRecord(file: File, scored: Scored, card: Card): Record {
  const { logit, imageWidth: width, imageHeight: height, facts } = scored;
  const label = isFake(card, logit) ? "fake" : "real";
  const { answer, reasons, why } = verdict(scored, card);
  const numbers = { logit, score: score(card, logit), label, threshold: card.threshold, protocol: card.protocol, width, height } as const;
  return { path: file.name, ...numbers, verdict: answer, reasons: reasons.join(" "), why, format: facts ? nameOf(facts) : "", share: shareOf(scored) };
}

const scorer = start();
scorer.catch((error) => (status.textContent = `The detector could not be loaded. ${error.message ?? error}`));
let queue: Promise<unknown> = scorer;

function add(files: Iterable<File>): void {
  for (const file of files) {
    taken++;
    queue = queue.then(async () => {
      const scoreAndShow = await scorer;
      showProgress();
      await scoreAndShow(file);
      showProgress();
    });
  }
}

function showProgress(): void {
  const failed = records.filter((record) => record.error !== undefined).length;
  const done = records.length == taken;
  const words = done ? `${taken - failed} scored${failed ? `, ${failed} not` : ""}.` : "Scoring…";
  if (status.textContent != words) status.textContent = words; // a screen reader reads out every change
  Object.assign(progress, { hidden: done, max: taken, value: records.length });
  download.hidden = !records.length;
}

input.addEventListener("change", () => {
  add(input.files!);
  input.value = ""; // so that the same file can be chosen again
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"] as const) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind == "dragenter" || kind == "dragover");
    if (kind == "drop") add(event.dataTransfer!.files);
  });
}
document.addEventListener("paste", (event) => add(event.clipboardData!.files));
download.addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([csv(records)], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: address, download: "scores.csv" }).click();
  URL.revokeObjectURL(address);
});
