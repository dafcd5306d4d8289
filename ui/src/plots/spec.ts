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
  /** Whole numbers only, such as steps: no tick stands between two. */
  whole?: boolean;
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
  /** What each point is, and where a click on it leads: for scatter plots. */
  labels?: string[];
  hrefs?: string[];
  /** In a scatter plot: this series is a line through its points, or steps from each to the next. */
  joined?: "line" | "step";
}

export interface LineSpec extends Common {
  kind: "line" | "scatter";
  x: Axis;
  y: Axis;
  series: PointSeries[];
  marks?: Mark[];
  thresholds?: Threshold[];
  /** Whether the reader may smooth the lines. */
  smooths?: boolean;
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
  /** Whether each cell says its number: where these are few and exact, as in a confusion matrix. */
  numbers?: boolean;
  /** values[row][column], row by row from the top. */
  values: (number | null)[][];
}

export interface ParallelSpec extends Common {
  kind: "parallel";
  axes: Axis[];
  lines: (NamedSeries & { values: (Place | null)[]; highlight?: boolean; /** 0 to 1: the place on the colour scale, instead of a colour of its own. */ shade?: number })[];
}

/** Values of several groups: the box from quartile to quartile with the median, whiskers to the last values within 1.5 times
    the box (Tukey 1977), every value as a point. */
export interface BoxSpec extends Common {
  kind: "box";
  x: Axis & { categories: string[] };
  y: Axis;
  boxes: ([low: number, first: number, median: number, third: number, high: number] | null)[];
  /** Number of the category, value, what it is. */
  points: [number, number, string][];
}

/** Estimates with their intervals, one under the other, and the line they are compared with. */
export interface ForestSpec extends Common {
  kind: "forest";
  x: Axis;
  rows: { name: string; estimate: number | null; low: number; high: number; key?: string }[];
  reference?: { at: number; label: string };
}

export type Spec = LineSpec | BarSpec | StepsSpec | HeatmapSpec | ParallelSpec | ForestSpec | BoxSpec;
