// PNG, SVG and CSV of a plot. The SVG is drawn once more without a page; the CSV holds what the page was given.
import type { EChartsType } from "echarts/core";
import { init } from "echarts/core";
import type { Option } from "./parts";
import type { Spec } from "./spec";

export function download(name: string, content: Blob | string): void {
  const link = document.createElement("a");
  link.download = name;
  link.href = typeof content === "string" ? content : URL.createObjectURL(content);
  link.click();
  if (typeof content !== "string") setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function pngOf(chart: EChartsType, ground: string): string {
  return chart.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: ground });
}

export function svgOf(option: Option, width: number, height: number, ground: string): Blob {
  const drawing = init(null, null, { renderer: "svg", ssr: true, width, height });
  drawing.setOption({ ...option, backgroundColor: ground });
  const text = drawing.renderToSVGString();
  drawing.dispose();
  return new Blob([text], { type: "image/svg+xml" });
}

type Cell = string | number | null | undefined;

export function tableOf(spec: Spec): Cell[][] {
  switch (spec.kind) {
    case "line":
    case "scatter":
      return [
        ["series", spec.x.name, spec.y.name, "low", "high"],
        ...spec.series.flatMap((series) => {
          const bands = new Map(series.band?.map(([at, low, high]) => [at, [low, high] as const]));
          return series.points.map(([at, value]) => [series.name, at, value, ...(bands.get(at) ?? [null, null])]);
        }),
      ];
    case "bar":
      return [
        ["series", spec.x.name, spec.y.name, "low", "high"],
        ...spec.series.flatMap((series) =>
          series.values.map((value, index) => [
            series.name,
            spec.x.categories[index],
            value,
            ...(series.intervals?.[index] ?? [null, null]),
          ]),
        ),
      ];
    case "steps":
      return [
        ["series", "from", "to", spec.y.name],
        ...spec.series.flatMap((series) =>
          series.values.map((value, index) => [series.name, spec.edges[index], spec.edges[index + 1], value]),
        ),
      ];
    case "heatmap":
      return [
        [spec.y.name, ...spec.x.categories],
        ...spec.values.map((row, index) => [spec.y.categories[index], ...row]),
      ];
    case "box":
      return [
        [spec.x.name, "name", spec.y.name],
        ...spec.points.map(([category, value, name]) => [spec.x.categories[category], name, value]),
      ];
    case "parallel":
      return [["name", ...spec.axes.map((one) => one.name)], ...spec.lines.map((line) => [line.name, ...line.values])];
    case "forest":
      return [
        ["name", spec.x.name, "low", "high"],
        ...spec.rows.map((row) => [row.name, row.estimate, row.low, row.high]),
      ];
  }
}

export function csvOf(spec: Spec): Blob {
  const cell = (value: Cell): string => {
    const text = value === null || value === undefined ? "" : String(value);
    // A leading = + - @ of a name would be run as a formula by spreadsheets.
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const lines = tableOf(spec).map((row) => row.map(cell).join(","));
  return new Blob([`${lines.join("\n")}\n`], { type: "text/csv" });
}
