// Records in the format of `lfm predict --format=csv`.

export interface Record {
  path: string;
  logit?: number;
  score?: number;
  label?: "fake" | "real";
  threshold?: number;
  protocol?: string;
  width?: number;
  height?: number;
  error?: string;
  verdict?: string;
  reasons?: string;
  why?: string;
  format?: string;
  share?: number;
}

const COLUMNS = [
  "path", "logit", "score", "label", "threshold", "protocol", "width", "height", "error", "verdict", "reasons", "why", "format", "share",
] as const;

export function csv(records: Record[]): string {
  const rows = records.map((record) => COLUMNS.map((column) => quoted(String(record[column] ?? ""))).join(","));
  return [COLUMNS.join(","), ...rows, ""].join("\n");
}

function quoted(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
