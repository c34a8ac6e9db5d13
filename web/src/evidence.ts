// Evidence drawn on the pixels it came from: the same picture as `overlay` in lfm_jax/inference/drawing.py.

import type { Card } from "./card";
import type { Scored } from "./worker";

// The values of lfm_jax/runtime/palette.py.
export const FAKE = [202, 0, 32];
export const REAL = [5, 113, 176];
export const STRONGEST = 0.85; // opacity of an image's strongest position
const FRAMED = 5; // windows

export interface Window {
  x: number; // its top left pixel in the crop
  y: number;
  side: number;
  evidence: number;
}

/** The windows with the most evidence, strongest first; none overlaps one before it. */
export function strongest({ evidence, columns }: Scored, card: Card): Window[] {
  const { stride, window: side } = card.network;
  const windows: Window[] = [];
  const ranked = [...evidence.keys()].filter((place) => evidence[place]).sort((a, b) => Math.abs(evidence[b]!) - Math.abs(evidence[a]!));
  for (const place of ranked) {
    const candidate = { x: (place % columns) * stride, y: Math.floor(place / columns) * stride, side, evidence: evidence[place]! };
    const apart = windows.every(({ x, y }) => Math.abs(x - candidate.x) >= side || Math.abs(y - candidate.y) >= side);
    if (apart) windows.push(candidate);
    if (windows.length == FRAMED) break;
  }
  return windows;
}

/** Draws the crop unchanged. */
export function draw(canvas: HTMLCanvasElement, { rgb, width, height }: Scored): CanvasRenderingContext2D {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(width, height);
  image.data.fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let channel = 0; channel < 3; channel++) image.data[4 * pixel + channel] = rgb[3 * pixel + channel]!;
  }
  context.putImageData(image, 0, 0);
  return context;
}

/** Draws the crop in grey, red where it speaks for fake and blue for real, with frames around `windows`. */
export function drawEvidence(canvas: HTMLCanvasElement, scored: Scored, windows: Window[], card: Card): void {
  const { rgb, width, height, evidence, columns } = scored;
  const { stride, window: side } = card.network;
  const [rows, before, largest] = [evidence.length / columns, Math.floor((side - stride) / 2), largestOf(evidence)];
  const context = draw(canvas, scored);
  const image = context.getImageData(0, 0, width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const grey = (rgb[3 * pixel]! * 19595 + rgb[3 * pixel + 1]! * 38470 + rgb[3 * pixel + 2]! * 7471 + 0x8000) >> 16; // as PIL rounds
    // Each position is painted on the middle of the window that it sees.
    const column = Math.floor(((pixel % width) - before) / stride);
    const row = Math.floor((Math.floor(pixel / width) - before) / stride);
    const inside = row >= 0 && row < rows && column >= 0 && column < columns;
    const value = inside ? evidence[row * columns + column]! : 0;
    const opacity = STRONGEST * Math.sqrt(Math.abs(value) / largest);
    const colour = value > 0 ? FAKE : REAL;
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * pixel + channel] = Math.round(grey * (1 - opacity) + colour[channel]! * opacity);
    }
  }
  context.putImageData(image, 0, 0);
  const thick = Math.max(1, Math.floor(Math.max(width, height) / 128));
  context.lineWidth = thick;
  for (const { x, y, evidence: weight } of windows) {
    for (const [out, colour] of [[thick, `rgb(${weight > 0 ? FAKE : REAL})`], [2 * thick, "white"]] as const) {
      context.strokeStyle = colour;
      context.strokeRect(x - out + thick / 2, y - out + thick / 2, side + 2 * out - thick, side + 2 * out - thick);
    }
  }
}

/** The strongest evidence of an image in either direction, which sets the range of its picture and scale. */
export function largestOf(evidence: Float32Array): number {
  return evidence.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
}
