// The weights' card, as `lfm export` writes it beside the model, and how it turns a logit into a score. As in lfm_jax/weights/card.py.

/** Counts on validation images of one kind, and what they say; bands are "85 to 94", "1024 or more", or "" for any. */
export interface Counts {
  kind: string;
  quality: string;
  side: string;
  fakes: number;
  found: number;
  photographs: number;
  accused: number;
  known: boolean;
  blind: boolean;
  accuses: boolean;
}

export interface OperatingRange {
  protocol: string;
  cut: number;
  smallest: number;
  largest: number;
  cells: Counts[];
}

export interface Card {
  protocol: string;
  preprocessing: { crop: number };
  threshold: number;
  temperature: number;
  calibration: { protocol?: string; oracle?: boolean };
  operating_range?: { [protocol: string]: OperatingRange }; // in which files the weights were shown to find fakes
  training: { data?: string; steps?: number };
  licence: string;
  weights_sha256: string;
  model: { pooling: { k: number } };
  network: { smallest_side: number; window: number; stride: number };
}

/** Logit -> score in [0, 1] that the image is fake. */
export function score(card: Card, logit: number): number {
  return 1 / (1 + Math.exp(-logit / card.temperature));
}

/** Whether the score is above the threshold, compared as logits: confident scores round to the same number. */
export function isFake(card: Card, logit: number): boolean {
  return logit / card.temperature > Math.log(card.threshold / (1 - card.threshold));
}

/** The logit above which an image is called fake. */
export function cutOf(card: Card): number {
  return card.temperature * Math.log(card.threshold / (1 - card.threshold));
}

/** Side of an image in pixels -> how many positions the map has along it. */
export function mapSide(card: Card, side: number): number {
  const { window, stride } = card.network;
  return Math.max(Math.floor((side - (side % 2) - window) / stride) + 1, 0);
}

/** Where the scores come from and how far they can be trusted, one line each. */
export function provenance(card: Card): string[] {
  const { calibration, training } = card;
  const fitted = calibration.protocol;
  const lines = [
    `Weights ${card.weights_sha256.slice(0, 12)}, ${training.data ? `trained on ${training.data}` : "which do not record what they were trained on"}.`,
    `Protocol ${card.protocol}: the central ${card.preprocessing.crop} × ${card.preprocessing.crop} pixels, without resizing.`,
    fitted
      ? `Threshold ${rounded(card.threshold)} and temperature ${rounded(card.temperature)} were fitted on validation images.`
      : `Threshold ${rounded(card.threshold)}, not calibrated: the score is not a probability.`,
  ];
  if (fitted && fitted !== card.protocol) lines.push(`They were fitted under protocol ${fitted}, not ${card.protocol}.`);
  if (calibration.oracle) lines.push("The threshold was fitted on test images (an oracle's).");
  if (card.licence) lines.push(`Licence of the weights: ${card.licence}.`);
  return lines;
}

/** 0.5, 0.0312 */
export function rounded(value: number): string {
  return String(Number(value.toPrecision(3)));
}
