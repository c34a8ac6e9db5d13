// The answer to a person, by the rules and in the words of lfm_jax/inference/verdict.py; a test compares them.

import { cutOf, isFake, rounded, score, type Card, type Counts, type OperatingRange } from "./card";
import { nameOf, type FileFacts } from "./facts";
import type { Scored } from "./worker";

export interface Verdict {
  answer: "trace found" | "no trace found" | "cannot tell";
  reasons: string[];
  why: string; // in a few words, what keeps the answer from being plain
}

const NOT_PROOF = "This is not proof of a real photograph.";
const [FLAT, TOO_LITTLE] = [0.95, 0.01];

/** How much of the picture was looked at. */
export function shareOf({ width, height, imageWidth, imageHeight }: Scored): number {
  return (width * height) / (imageWidth * imageHeight);
}

export function verdict(scored: Scored, card: Card): Verdict {
  const ranges = card.operating_range ?? {};
  const range = ranges[card.protocol] ?? Object.values(ranges)[0];
  if (scored.flat >= FLAT) {
    const blocks = `${percent(scored.flat)} of the 2 x 2 blocks that were scored have one colour`;
    return { answer: "cannot tell", reasons: [`The picture is flat: ${blocks}, so there is nothing to find a trace in.`], why: "flat" };
  }
  const counts = knownCounts(scored, card, range);
  const value = `The score, ${scoreWords(score(card, scored.logit))}, is`;
  return isFake(card, scored.logit)
    ? found(`${value} above the threshold, ${rounded(card.threshold)}`, counts)
    : none(`${value} not above the threshold, ${rounded(card.threshold)}`, scored, card, counts, range);
}

function knownCounts({ facts, imageWidth, imageHeight }: Scored, card: Card, range: OperatingRange | undefined): Counts | undefined {
  if (!range || !facts || range.protocol !== card.protocol) return undefined;
  const counts = mostSpecific(range, facts, Math.min(imageWidth, imageHeight));
  const above = cutOf(card) - range.cut;
  if (!counts || Math.abs(above) < 1e-6) return counts;
  return (above > 0 ? counts.blind : counts.accuses) ? counts : undefined;
}

function mostSpecific(range: OperatingRange, { container, quality, lossy }: FileFacts, side: number): Counts | undefined {
  const cells = range.cells.filter(({ kind, known }) => known && kind === (lossy ? container : "lossless"));
  const sameQuality = cells.filter((cell) => (quality ? isWithin(quality, cell.quality) : cell.quality === ""));
  return sameQuality.find((cell) => isWithin(side, cell.side)) ?? sameQuality.find((cell) => cell.side === "")
    ?? cells.find((cell) => cell.quality === "" && cell.side === "");
}

/** Whether a value lies in a band: "85 to 94", "1024 or more". */
function isWithin(value: number, band: string): boolean {
  const [low, high] = band.split(/ to | or more/);
  return band !== "" && value >= Number(low) && (!high || value <= Number(high));
}

function found(value: string, counts: Counts | undefined): Verdict {
  if (counts?.accuses) {
    const why = `accused ${counts.accused}/${counts.photographs} photos`;
    return { answer: "cannot tell", reasons: [`${value}, but these weights accuse many photographs: ${words(counts)}.`], why };
  }
  const reasons = [`${value}: these weights found what they learned as traces of a generator.`, ...(counts ? [measurement(counts)] : [])];
  return { answer: "trace found", reasons, why: "" };
}

function none(value: string, scored: Scored, card: Card, counts: Counts | undefined, range: OperatingRange | undefined): Verdict {
  const doubts: [string, string][] = [];
  if (counts?.blind) doubts.push([`blind to ${counts.kind}`, `These weights are blind here: ${words(counts)}.`]);
  const looked = percent(shareOf(scored));
  if (shareOf(scored) < TOO_LITTLE) {
    doubts.push([`${looked} looked at`, `Only ${looked} of the picture was looked at; lfm predict --protocol=tiles256 looks at all of it.`]);
  }
  const side = Math.min(scored.imageWidth, scored.imageHeight);
  if (range && range.protocol === card.protocol && side < range.smallest) {
    const measured = `these weights were measured on images from ${range.smallest} px`;
    doubts.push(["smaller than measured", `Its shorter side has ${side} px, and ${measured}.`]);
  }
  if (doubts.length) {
    return { answer: "cannot tell", reasons: [`${value}, but that says nothing.`, ...doubts.map(([, sentence]) => sentence)], why: doubts[0]![0] };
  }
  const known = counts ? measurement(counts) : unmeasured(scored, card, range);
  const reasons = [`${value}: these weights found no trace that they know.`, known, NOT_PROOF];
  return { answer: "no trace found", reasons, why: counts ? "" : "never measured" };
}

function unmeasured({ facts }: Scored, card: Card, range: OperatingRange | undefined): string {
  if (!range) {
    return "It was never measured to which files these weights are blind (lfm calibrate does), so they may be blind to this one.";
  }
  if (range.protocol !== card.protocol) {
    return `These weights were measured under ${range.protocol}, not under ${card.protocol}, so they may be blind to this file.`;
  }
  if (!facts) return "These pixels came without their file, so it is not known whether saving it wiped out traces.";
  return `These weights were not measured on files like this one (${nameOf(facts)}) at this threshold, so they may be blind to it.`;
}

function measurement(counts: Counts): string {
  return `When they were measured${counts.side ? "" : ", mostly on images of other sizes"}: ${words(counts)}.`;
}

function words({ kind, quality, side, found, fakes, accused, photographs }: Counts): string {
  const files = `${kind} files${quality && ` of quality ${quality}`}${side && ` with a shorter side of ${side} px`}`;
  return `of ${files}, they found ${found} of ${fakes} fakes and accused ${accused} of ${photographs} photographs`;
}

/** 0.5 %, 12 % */
export function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function scoreWords(value: number): string {
  if (value >= 0.001 && value <= 0.999) return value.toFixed(3);
  return value > 0.5 ? "above 0.999" : "below 0.001";
}
