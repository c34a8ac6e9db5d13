// What a file says before its pixels: container, JPEG quality, lossy or not. As in lfm_jax/data/facts.py and audit/jpeg.py.

export interface FileFacts {
  container: string;
  quality: number | null; // of a JPEG, estimated from its tables
  lossy: boolean;
}

// ITU-T T.81, table K.1 (luminance), row by row: quality 50. A file has its tables in the order of ZIGZAG.
const LUMINANCE = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const ZIGZAG = [...Array(64).keys()].sort((a, b) => {
  const [rowA, columnA, rowB, columnB] = [a >> 3, a & 7, b >> 3, b & 7];
  const diagonals = rowA + columnA - rowB - columnB;
  return diagonals || ((rowA + columnA) % 2 ? rowA - rowB : rowB - rowA);
});

/** The facts of a file; null if it is of no kind that is known here. */
export function factsOf(bytes: Uint8Array): FileFacts | null {
  const text = (start: number, end: number): string => String.fromCharCode(...bytes.subarray(start, end));
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return { container: "JPEG", quality: jpegQuality(bytes), lossy: true };
  if (text(1, 4) === "PNG") return { container: "PNG", quality: null, lossy: false };
  if (text(0, 3) === "GIF") return { container: "GIF", quality: null, lossy: true };
  if (text(0, 2) === "BM") return { container: "BMP", quality: null, lossy: false };
  if (text(0, 4) === "RIFF" && text(8, 12) === "WEBP") return { container: "WebP", quality: null, lossy: isLossyWebp(bytes, text) };
  if (text(4, 8) === "ftyp") return { container: "AVIF", quality: null, lossy: true };
  return null;
}

/** PNG, JPEG 92, WebP (lossless) */
export function nameOf({ container, quality, lossy }: FileFacts): string {
  if (container === "WebP" && !lossy) return "WebP (lossless)";
  return quality ? `${container} ${quality}` : container;
}

/** Walks along the chunks to the first frame. */
function isLossyWebp(bytes: Uint8Array, text: (start: number, end: number) => string): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let start = 12; start + 8 <= bytes.length; ) {
    const [name, length] = [text(start, start + 4), view.getUint32(start + 4, true)];
    if (name === "VP8 " || name === "VP8L") return name === "VP8 ";
    start += name === "ANMF" ? 24 : 8 + length + (length % 2);
  }
  return true;
}

/** The quality, 1 to 100, whose luminance table is nearest in the mean of |log ratio|; null without a table. */
function jpegQuality(bytes: Uint8Array): number | null {
  const tables: { [id: number]: number[] } = {};
  let first: number | undefined; // the table of the first component
  for (let place = 2; place + 4 <= bytes.length && first === undefined; ) {
    if (bytes[place] !== 0xff || bytes[place + 1] === 0xff) {
      place++;
      continue;
    }
    const [code, length] = [bytes[place + 1]!, (bytes[place + 2]! << 8) | bytes[place + 3]!];
    if (code === 0xda) return null;
    const segment = bytes.subarray(place + 4, place + 2 + length);
    if (code === 0xdb) readTables(segment, tables);
    if (code >= 0xc0 && code <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(code)) first = segment[8];
    place += 2 + length;
  }
  const table = tables[first ?? -1];
  if (!table || table.length !== 64 || Math.min(...table) < 1) return null;
  const distances = Array.from({ length: 100 }, (_, place) =>
    scaled(place + 1).reduce((sum, value, at) => sum + Math.abs(Math.log(value / table[at]!)), 0));
  return distances.indexOf(Math.min(...distances)) + 1;
}

function readTables(segment: Uint8Array, tables: { [id: number]: number[] }): void {
  for (let place = 0; place < segment.length; ) {
    const [wide, id] = [segment[place]! >> 4 ? 2 : 1, segment[place]! & 15];
    const table: number[] = [];
    ZIGZAG.forEach((natural, at) => {
      const start = place + 1 + at * wide;
      table[natural] = wide === 2 ? (segment[start]! << 8) | segment[start + 1]! : segment[start]!;
    });
    tables[id] = table;
    place += 1 + 64 * wide;
  }
}

/** The luminance table at a quality, as libjpeg's jpeg_set_quality scales it. */
function scaled(quality: number): number[] {
  const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  return LUMINANCE.map((value) => Math.min(Math.max(Math.floor((value * percent + 50) / 100), 1), 255));
}
