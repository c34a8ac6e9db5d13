// From an image file to the pixels that are scored: the centre crop, decoded and cropped as lfm_jax does with PIL.
//
// Colour profiles and EXIF orientation are ignored, alpha is dropped, and animations give their frame 0.

import { factsOf, type FileFacts } from "./facts";

export interface Crop {
  rgb: Uint8Array; // [height, width, 3]
  width: number;
  height: number;
  left: number; // place of the crop in the image
  top: number;
  imageWidth: number;
  imageHeight: number;
  facts: FileFacts | null; // null for a kind of file that is not known here
  flat: number; // the share of its 2 x 2 blocks whose pixels differ by no more than a level
}

/** An image that cannot be scored; the message is the reason, without the file's name. */
export class ImageError extends Error {}

const AS_STORED: ImageBitmapOptions = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
// EXIF's entry for the orientation, tag 0x0112, one SHORT, in both byte orders.
const ORIENTATION = /\x12\x01\x03\0\x01\0\0\0[\x02-\x08]\0|\x01\x12\0\x03\0\0\0\x01\0[\x02-\x08]/g;

/** The central `side` x `side` pixels; shorter sides are kept whole. */
export async function centreCrop(file: Blob, side: number): Promise<Crop> {
  if (!file.size) throw new ImageError("empty file (0 bytes)");
  let image: ImageBitmap;
  const bytes = await file.arrayBuffer();
  const facts = factsOf(new Uint8Array(bytes));
  try {
    image = await createImageBitmap(new Blob([upright(bytes)]), AS_STORED);
  } catch {
    throw new ImageError("damaged, or not an image that this browser can read (it reads PNG, JPEG, WebP, BMP and GIF)");
  }
  const { width: imageWidth, height: imageHeight } = image;
  const [width, height] = [Math.min(imageWidth, side), Math.min(imageHeight, side)];
  const [left, top] = [offset(imageWidth, side), offset(imageHeight, side)];
  const crop = await createImageBitmap(image, left, top, width, height, AS_STORED);
  image.close();
  const rgb = withoutAlpha(read(crop));
  return { rgb, width, height, left, top, imageWidth, imageHeight, facts, flat: flatness(rgb, width, height) };
}

/** As in lfm_jax/inference/scoring.py. */
function flatness(rgb: Uint8Array, width: number, height: number): number {
  let [flat, blocks] = [0, 0];
  for (let y = 0; y + 1 < height; y += 2) {
    for (let x = 0; x + 1 < width; x += 2) {
      let spread = 0;
      for (let channel = 0; channel < 3; channel++) {
        const values = [0, 1, width, width + 1].map((step) => rgb[3 * (y * width + x + step) + channel]!);
        spread = Math.max(spread, Math.max(...values) - Math.min(...values));
      }
      flat += Number(spread <= 1);
      blocks++;
    }
  }
  return blocks ? flat / blocks : 0;
}

/** Whether this browser hands out pixels unchanged. Some alter them slightly to prevent fingerprinting, which would make scores noise. */
export async function pixelsAreExact(): Promise<boolean> {
  const known = new ImageData(32, 32);
  known.data.forEach((_, place) => (known.data[place] = place % 4 == 3 ? 255 : (place * 37) % 251));
  const seen = read(await createImageBitmap(known));
  return known.data.every((value, place) => value === seen[place]);
}

/** First pixel of the crop along a side: half of the rest, rounded half to even as in Python and torchvision. */
function offset(length: number, side: number): number {
  const rest = Math.max(length - side, 0);
  return rest % 4 === 3 ? (rest + 1) / 2 : Math.floor(rest / 2);
}

/** The file with its orientation set to upright, because browsers rotate an image before its pixels can be read. */
function upright(file: ArrayBuffer): ArrayBuffer {
  const bytes = new Uint8Array(file);
  for (const match of new TextDecoder("latin1").decode(bytes).matchAll(ORIENTATION)) {
    bytes[match.index + (match[0].startsWith("\x12") ? 8 : 9)] = 1;
  }
  return file;
}

// A 2D canvas multiplies colours by alpha and divides them again, with losses; a texture does not.
const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
gl?.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());

/** Bitmap -> RGBA [height, width, 4], with the colours as stored whatever their alpha. */
function read(bitmap: ImageBitmap): Uint8Array | Uint8ClampedArray {
  const { width, height } = bitmap;
  if (!gl) {
    const canvas = new OffscreenCanvas(width, height).getContext("2d")!;
    canvas.drawImage(bitmap, 0, 0);
    const { data } = canvas.getImageData(0, 0, width, height);
    if (data.some((value, place) => place % 4 == 3 && value < 255)) {
      throw new ImageError("has transparent parts, which this browser can read exactly only with WebGL, which is off");
    }
    return data;
  }
  const pixels = new Uint8Array(width * height * 4);
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  gl.deleteTexture(texture);
  return pixels;
}

function withoutAlpha(rgba: ArrayLike<number>): Uint8Array {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    for (let channel = 0; channel < 3; channel++) rgb[to++] = rgba[from + channel]!;
  }
  return rgb;
}
