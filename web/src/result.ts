// The result of one image on the page: verdict, numbers, the crop and its evidence.

import { rounded, type Card } from "./card";
import type { Record } from "./csv";
import { percent } from "./verdict";
import { draw, drawEvidence, FAKE, largestOf, REAL, strongest, STRONGEST, type Window } from "./evidence";
import type { Scored } from "./worker";

const CLASSES: { [answer: string]: string } = { "trace found": "fake", "no trace found": "none", "cannot tell": "unknown" };

/** A record as a list item, with pictures if `scored` is given. */
export function resultItem(record: Record, card: Card, scored?: Scored): HTMLLIElement {
  const name = element("h3", { textContent: record.path });
  if (record.error !== undefined) {
    return element("li", { className: "failed" }, name, element("p", { textContent: `Not scored: ${record.error}.` }));
  }
  const answer = record.verdict!;
  const verdict = element("p", { className: `verdict ${CLASSES[answer]}`, textContent: answer[0]!.toUpperCase() + answer.slice(1) });
  const reasons = element("p", { className: "reasons", textContent: record.reasons! });
  const numbers = element("dl", {}, ...Object.entries({
    Score: scoreText(record.score!),
    Threshold: rounded(record.threshold!),
    Logit: signed(record.logit!),
    Protocol: record.protocol!,
    Size: `${record.width} × ${record.height}`,
    ...(record.format && { File: record.format }),
    "Looked at": percent(record.share!),
  }).map(([term, value]) => element("div", {}, element("dt", { textContent: term }), element("dd", { textContent: value }))));
  const words = element("div", { className: "words" }, name, verdict, reasons, meter(record.score!, card.threshold), numbers);
  return element("li", {}, words, ...(scored ? pictures(scored, card, words) : []));
}

/** The score and the threshold on a line from 0 to 1, hidden from screen readers because the numbers stand beside it. */
function meter(score: number, threshold: number): HTMLElement {
  const [dot, tick] = [element("i", { className: "dot" }), element("i", { className: "tick" })];
  dot.style.left = `${100 * score}%`;
  tick.style.left = `${100 * threshold}%`;
  const line = element("div", { className: "meter" }, tick, dot);
  line.ariaHidden = "true";
  return line;
}

/** The crop and its evidence side by side; adds a table of the framed windows to `words`. */
function pictures(scored: Scored, card: Card, words: HTMLElement): HTMLElement[] {
  const windows = strongest(scored, card);
  const [crop, heat] = [element("canvas", { role: "img", ariaLabel: "The part that was scored" }), element("canvas", { role: "img" })];
  heat.ariaLabel = `Where the score came from. ${windows.map((window) => windowText(window, scored)).join("; ")}`;
  draw(crop, scored);
  drawEvidence(heat, scored, windows, card);
  words.append(windowTable(windows, scored));
  return [
    element("div", { className: "pictures" },
      element("figure", {}, crop, element("figcaption", { textContent: "Scored part" })),
      element("figure", {}, heat, element("figcaption", {}, scale(largestOf(scored.evidence))))),
  ];
}

function windowTable(windows: Window[], crop: Scored): HTMLElement {
  const rows = windows.map(({ x, y, evidence }) => element("tr", {},
    element("td", { textContent: String(crop.left + x) }),
    element("td", { textContent: String(crop.top + y) }),
    element("td", {}, element("data", { value: String(evidence), textContent: signed(evidence) })),
    element("td", { textContent: evidence > 0 ? "for a trace" : "against" })));
  const heads = ["x", "y", "Evidence", "Speaks"].map((textContent) => element("th", { scope: "col", textContent }));
  return element("details", {}, element("summary", { textContent: "Framed windows" }),
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
}

function windowText({ x, y, evidence }: Window, crop: Scored): string {
  return `${signed(evidence)} at ${crop.left + x}, ${crop.top + y}`;
}

/** The colour scale, its opacity following the square root as in the picture. */
function scale(largest: number): HTMLElement {
  const stops = Array.from({ length: 17 }, (_, place) => (place - 8) / 8)
    .map((share) => `rgb(${share > 0 ? FAKE : REAL} / ${STRONGEST * Math.sqrt(Math.abs(share))})`.replaceAll(",", " "));
  const ramp = element("i", { className: "ramp" });
  ramp.style.backgroundImage = `linear-gradient(to right, ${stops})`;
  return element("span", { className: "scale" }, element("b", { textContent: signed(-largest) }), ramp, element("b", { textContent: signed(largest) }));
}

function scoreText(score: number): string {
  if (score > 0.999) return "above 0.999";
  return score < 0.001 ? "below 0.001" : score.toFixed(3);
}

/** +4.64, −15.8 */
function signed(value: number): string {
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(Math.abs(value) < 10 ? 2 : 1);
}

function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name, properties: Partial<HTMLElementTagNameMap[Name]>, ...children: Node[]
): HTMLElementTagNameMap[Name] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
