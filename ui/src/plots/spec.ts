// The JSON a page puts into `<figure data-plot><script type="application/json">`. Written by Python, drawn here.

/** A place on an axis: a number, an instant (ISO 8601 or milliseconds) on a time axis, or a category's name. */
export type Place = number | string;

export interface Axis {
  name: string;
  unit?: string;
  type?: "number" | "time" | "log" | "category";
  /** Names of the categories, in order. */
  categories?: string[];
  /** Start at zero, where lengths are compared. Bars always do. */
  zero?: boolean;
  min?: number;
  max?: number;
}

/** A deployment, an alert, a retraining or a note at one place of the x axis. */
export interface Mark {
  at: Place;
  label: string;
  kind?: "deployment" | "alert" | "retrain" | "note";
}

export interface Threshold {
  y: number;
  label: string;
}

interface Common {
  /** Name of exported files; the caption when it is missing. */
  name?: string;
}

interface NamedSeries {
  name: string;
  /** Series with one key keep one colour on the whole page; the name when it is missing. */
  key?: string;
}

export interface PointSeries extends NamedSeries {
  /** Measured points, in order of x; null breaks the line. */
  points: [Place, number | null][];
  /** An interval around them: x, low, high. */
  band?: [Place, number, number][];
  dashed?: boolean;
}

export interface LineSpec extends Common {
  kind: "line" | "scatter";
  x: Axis;
  y: Axis;
  series: PointSeries[];
  marks?: Mark[];
  thresholds?: Threshold[];
}

export interface BarSpec extends Common {
  kind: "bar";
  x: Axis & { categories: string[] };
  y: Axis;
  series: (NamedSeries & { values: (number | null)[]; intervals?: ([number, number] | null)[] })[];
  thresholds?: Threshold[];
}

/** Distributions as overlaid steps: `edges` has one value more than `values`. */
export interface StepsSpec extends Common {
  kind: "steps";
  x: Axis;
  y: Axis;
  edges: number[];
  series: (NamedSeries & { values: number[]; dashed?: boolean })[];
}

/** Columns (rows of the picture) by windows. */
export interface HeatmapSpec extends Common {
  kind: "heatmap";
  x: Axis & { categories: string[] };
  y: Axis & { categories: string[] };
  value: Axis;
  /** values[row][column], row by row from the top. */
  values: (number | null)[][];
}

export interface ParallelSpec extends Common {
  kind: "parallel";
  axes: Axis[];
  lines: (NamedSeries & { values: (Place | null)[]; highlight?: boolean })[];
}

/** Estimates with their intervals, one under the other, and the line they are compared with. */
export interface ForestSpec extends Common {
  kind: "forest";
  x: Axis;
  rows: { name: string; estimate: number | null; low: number; high: number; key?: string }[];
  reference?: { at: number; label: string };
}

export type Spec = LineSpec | BarSpec | StepsSpec | HeatmapSpec | ParallelSpec | ForestSpec;
