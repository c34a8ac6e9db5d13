// The detector, in a thread of its own so that the page stays responsive. The first message brings the model, the runtime and
// the card; every further one a file. Each gets one answer, in order.

import * as ort from "onnxruntime-web/wasm";
import { mapSide, type Card } from "./card";
import { centreCrop, ImageError, pixelsAreExact, type Crop } from "./pixels";

export interface Setup {
  model: ArrayBuffer;
  runtime: ArrayBuffer;
  card: Card;
}

export interface Scored extends Crop {
  logit: number;
  evidence: Float32Array; // [rows, columns]: what each position of the map added to the logit
  columns: number;
}

export type Answer = { scored: Scored } | { ready: true } | { error: string };

let session: ort.InferenceSession;
let card: Card;

async function setUp(setup: Setup): Promise<Answer> {
  if (!(await pixelsAreExact())) {
    return { error: "This browser alters the pixels that pages read, to prevent fingerprinting, so scores would be noise. Allow this page to read pixels." };
  }
  // One thread: more would need headers that isolate the page, which many static hosts do not send.
  Object.assign(ort.env.wasm, { wasmBinary: setup.runtime, numThreads: 1 });
  card = setup.card;
  session = await ort.InferenceSession.create(setup.model, { executionProviders: ["wasm"] });
  return { ready: true };
}

async function score(file: Blob): Promise<Answer> {
  const crop = await centreCrop(file, card.preprocessing.crop);
  const { width, height } = crop;
  const [columns, rows] = [mapSide(card, width), mapSide(card, height)];
  const [least, { k }] = [card.network.smallest_side, card.model.pooling];
  if (rows * columns < k) {
    throw new ImageError(`${crop.imageWidth} × ${crop.imageHeight} px is too small: ${least} × ${least} is the smallest square that can be scored`);
  }
  const output = await session.run({ images: new ort.Tensor("uint8", crop.rgb, [1, height, width, 3]) });
  const [logit] = output["logits"]!.data as Float32Array;
  return { scored: { ...crop, logit: logit!, evidence: output["evidence"]!.data as Float32Array, columns } };
}

onmessage = async ({ data }: MessageEvent<Setup | Blob>) => {
  try {
    postMessage(await (data instanceof Blob ? score(data) : setUp(data)));
  } catch (error) {
    postMessage({ error: error instanceof ImageError ? error.message : `could not be scored: ${error}` } satisfies Answer);
  }
};
