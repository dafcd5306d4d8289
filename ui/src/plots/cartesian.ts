// Lines, points, bars, steps: plots with one x and one y axis.
import type { Look } from "./look";
import { colourOf, faded } from "./look";
import { placeName, withUnit } from "./numbers";
import type { Option } from "./parts";
import { markSeries, marksNear, said } from "./marks";
import { axis, frame, thresholdLines, tooltipBox } from "./parts";
import type { BarSpec, BoxSpec, LineSpec, Place, StepsSpec } from "./spec";
import { tip } from "./tooltip";

/** Lines of a hover: of fifty runs nobody reads all. */
const MOST_TOLD = 16;
const MOST_NAMED = 12;

interface RenderApi {
  coord(point: [Place, number]): [number, number];
}
interface RenderArea {
  coordSys: { x: number; y: number; width: number; height: number };
}
interface Hovered {
  seriesName: string;
  seriesIndex: number;
  dataIndex: number;
  color: string;
  value: [Place, number | null];
}

/** Exponential moving average without the pull towards the first value (Kingma and Ba 2014, section 3); gaps stay gaps. */
export function smoothed(points: [Place, number | null][], weight: number): [Place, number | null][] {
  let [sum, power] = [0, 1];
  return points.map(([at, value]) => {
    if (value === null) return [at, null];
    sum = sum * weight + (1 - weight) * value;
    power *= weight;
    return [at, sum / (1 - power)];
  });
}

export function linePlot(spec: LineSpec, look: Look, smoothing = 0): Option {
  const smooths = spec.kind === "line" && spec.smooths === true && smoothing > 0;
  const time = spec.x.type === "time";
  const place = (at: Place): Place => (time ? new Date(at).getTime() : at);
  const marks = (spec.marks ?? []).map((mark) => ({ ...mark, at: place(mark.at) }));
  const ends = spec.series.flatMap((each) => [each.points[0], each.points.at(-1)]).flatMap((point) => (point ? [Number(place(point[0]))] : []));
  const measurement = spec.series.flatMap((each) => each.points).find(([, value]) => value !== null);
  const anchor: [Place, number | null] | undefined = measurement && [place(measurement[0]), measurement[1]];
  // A mark is said with the measurement it stands nearest to.
  const longest = Math.max(1, ...spec.series.map((each) => each.points.length - 1));
  const reach = (Math.max(...ends) - Math.min(...ends)) / longest / 2;
  const lines = spec.series.map((series, index) => {
    const colour = colourOf(series.key ?? series.name, look);
    return {
      type: series.joined ? "line" : spec.kind,
      ...(series.joined === "step" ? { step: "end" } : {}),
      name: series.name,
      data: (smooths ? smoothed(series.points, smoothing) : series.points).map(([at, value]) => [place(at), value]),
      color: colour,
      cursor: series.hrefs ? "pointer" : "default",
      lineStyle: { width: 1.75, type: series.dashed ? [5, 4] : "solid" },
      symbol: "circle",
      symbolSize: spec.kind === "scatter" ? 6 : 4,
      // Few points are shown as what they are: measurements.
      showSymbol: series.points.length <= 40 && !smooths && series.joined !== "step",
      itemStyle: spec.kind === "scatter" ? { color: faded(colour, 0.75) } : {},
      connectNulls: false,
      // Among many lines the one pointed at stands out.
      emphasis: { focus: spec.series.length > 3 ? "series" : "none", lineStyle: { width: 2.25 } },
      blur: { lineStyle: { opacity: 0.25 }, itemStyle: { opacity: 0.25 } },
      markLine: index === 0 ? thresholdLines(look, spec.thresholds) : undefined,
      z: 3,
    };
  });
  // What was measured stays to be seen, faintly, behind its smoothed line.
  const measured = smooths
    ? spec.series.map((series) => ({
        type: "line",
        name: series.name,
        data: series.points.map(([at, value]) => [place(at), value]),
        color: colourOf(series.key ?? series.name, look),
        lineStyle: { width: 1, opacity: 0.25 },
        showSymbol: false,
        silent: true,
        tooltip: { show: false },
        z: 2,
      }))
    : [];
  const bands = spec.series.flatMap((series) => {
    const band = series.band;
    if (band === undefined || band.length === 0) return [];
    return [
      {
        type: "custom",
        name: series.name,
        color: colourOf(series.key ?? series.name, look),
        silent: true,
        tooltip: { show: false },
        // The axes have to include the band; it is drawn once, as one shape.
        encode: { x: 0, y: [1, 2] },
        data: band.map(([at, low, high]) => [place(at), low, high]),
        renderItem: (area: RenderArea & { dataIndexInside: number }, api: RenderApi) => {
          if (area.dataIndexInside !== 0) return null;
          const upper = band.map(([at, , high]) => api.coord([place(at), high]));
          const lower = band.map(([at, low]) => api.coord([place(at), low])).reverse();
          return {
            type: "polygon",
            shape: { points: [...upper, ...lower] },
            style: { fill: faded(colourOf(series.key ?? series.name, look), 0.16) },
          };
        },
        clip: true,
        z: 1,
      },
    ];
  });
  const bandAt = (index: number, at: Place): string | undefined => {
    const found = spec.series[index]?.band?.find(([x]) => place(x) === at);
    return found ? `${withUnit(found[1], spec.y)} – ${withUnit(found[2], spec.y)}` : undefined;
  };
  return {
    // Of fifty names nobody finds one: hover tells them apart then.
    ...frame(look, spec.series.length > MOST_NAMED ? [] : spec.series.map((series) => series.name)),
    xAxis: axis(spec.x, look, "x"),
    yAxis: axis(spec.y, look, "y"),
    dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseMove: "shift" }],
    tooltip: {
      ...tooltipBox(),
      trigger: spec.kind === "line" ? "axis" : "item",
      axisPointer: { type: "line", lineStyle: { color: look.strong } },
      formatter: (hovered: Hovered | Hovered[]) => {
        const all = (Array.isArray(hovered) ? hovered : [hovered]).filter((one) => one.seriesIndex < lines.length);
        const first = all[0];
        if (first === undefined) return "";
        const label = spec.series[first.seriesIndex]?.labels?.[first.dataIndex];
        if (label !== undefined) {
          return tip(label, [
            { name: spec.x.name, value: placeName(first.value[0], { ...spec.x, name: "" }) },
            { name: spec.y.name, value: withUnit(first.value[1] ?? NaN, spec.y) },
            ...(spec.series.length > 1 ? [{ colour: first.color, name: first.seriesName, value: "" }] : []),
          ]);
        }
        return tip(
          placeName(first.value[0], spec.x),
          [
            ...all.slice(0, MOST_TOLD).map((one) => {
              const range = bandAt(one.seriesIndex, one.value[0]);
              return {
                colour: colourOf(spec.series[one.seriesIndex]?.key ?? one.seriesName, look),
                name: one.seriesName,
                value: one.value[1] === null ? "–" : withUnit(one.value[1], spec.y),
                ...(range ? { range } : {}),
              };
            }),
            ...marksNear(marks, first.value[0], reach).map((mark) => ({ name: said(mark), value: "" })),
          ],
        );
      },
    },
    series: [...lines, ...measured, ...bands, ...markSeries(marks, anchor, look)],
  };
}

export function barPlot(spec: BarSpec, look: Look): Option {
  const bars = spec.series.map((series, index) => ({
    type: "bar",
    name: series.name,
    data: series.values,
    color: colourOf(series.key ?? series.name, look),
    barMaxWidth: 28,
    barGap: "12%",
    itemStyle: { borderRadius: [2, 2, 0, 0] },
    markLine: index === 0 ? thresholdLines(look, spec.thresholds) : undefined,
  }));
  const whiskers = spec.series.flatMap((series, index) => {
    if (series.intervals === undefined) return [];
    return [
      {
        type: "custom",
        name: series.name,
        silent: true,
        tooltip: { show: false },
        encode: { x: 0, y: [1, 2] },
        data: series.intervals.flatMap((interval, at) => (interval ? [[at, ...interval]] : [])),
        renderItem: (_: unknown, api: RenderApi & { value(n: number): number; barLayout(o: object): { offsetCenter: number }[] }) => {
          const offset = api.barLayout({ count: bars.length, barMaxWidth: 28, barGap: "12%" })[index]?.offsetCenter ?? 0;
          const [x, low] = api.coord([api.value(0), api.value(1)]);
          const [, high] = api.coord([api.value(0), api.value(2)]);
          return whisker(x + offset, low, high, look.text);
        },
        z: 4,
      },
    ];
  });
  return {
    ...frame(look, spec.series.map((series) => series.name)),
    xAxis: axis({ ...spec.x, type: "category" }, look, "x"),
    yAxis: axis({ ...spec.y, zero: true }, look, "y"),
    tooltip: {
      ...tooltipBox(),
      trigger: "axis",
      axisPointer: { type: "shadow", shadowStyle: { color: faded(look.strong, 0.2) } },
      formatter: (hovered: { seriesIndex: number; dataIndex: number; name: string }[]) =>
        tip(
          hovered[0]?.name ?? "",
          hovered.flatMap((one) => {
            const series = spec.series[one.seriesIndex];
            if (series === undefined) return [];
            const value = series.values[one.dataIndex];
            const interval = series.intervals?.[one.dataIndex];
            return [
              {
                colour: colourOf(series.key ?? series.name, look),
                name: series.name,
                value: value === null || value === undefined ? "–" : withUnit(value, spec.y),
                ...(interval ? { range: `${withUnit(interval[0], spec.y)} – ${withUnit(interval[1], spec.y)}` } : {}),
              },
            ];
          }),
        ),
    },
    series: [...bars, ...whiskers],
  };
}

export function boxPlot(spec: BoxSpec, look: Look): Option {
  return {
    ...frame(look, []),
    xAxis: axis({ ...spec.x, type: "category" }, look, "x"),
    yAxis: axis(spec.y, look, "y"),
    tooltip: {
      ...tooltipBox(),
      trigger: "item",
      formatter: (hovered: { seriesType: string; dataIndex: number }) => {
        if (hovered.seriesType === "scatter") {
          const point = spec.points[hovered.dataIndex];
          return point ? tip(point[2], [{ name: spec.y.name, value: withUnit(point[1], spec.y) }]) : "";
        }
        const box = spec.boxes[hovered.dataIndex];
        if (!box) return "";
        const names = ["lower whisker", "first quartile", "median", "third quartile", "upper whisker"];
        const count = spec.points.filter(([category]) => category === hovered.dataIndex).length;
        return tip(`${spec.x.name} ${spec.x.categories[hovered.dataIndex] ?? ""}, ${count} runs`, [
          ...names.map((name, at) => ({ name, value: withUnit(box[at] ?? NaN, spec.y) })).reverse(),
        ]);
      },
    },
    series: [
      {
        type: "boxplot",
        data: spec.boxes.map((box) => box ?? []),
        boxWidth: [8, 44],
        itemStyle: { color: faded(look.accent, 0.12), borderColor: look.accent, borderWidth: 1.5 },
      },
      {
        type: "scatter",
        data: spec.points.map(([category, value]) => [category, value]),
        symbolSize: 5,
        itemStyle: { color: faded(look.text, 0.45) },
      },
    ],
  };
}

function whisker(x: number, low: number, high: number, stroke: string): Option {
  const line = (x1: number, y1: number, x2: number, y2: number): Option => ({
    type: "line",
    shape: { x1, y1, x2, y2 },
    style: { stroke, lineWidth: 1.25 },
  });
  return { type: "group", children: [line(x, low, x, high), line(x - 4, low, x + 4, low), line(x - 4, high, x + 4, high)] };
}

export function stepsPlot(spec: StepsSpec, look: Look): Option {
  return {
    ...frame(look, spec.series.map((series) => series.name)),
    xAxis: { ...axis(spec.x, look, "x"), min: spec.edges[0], max: spec.edges.at(-1) },
    yAxis: axis({ ...spec.y, zero: true }, look, "y"),
    tooltip: {
      ...tooltipBox(),
      trigger: "axis",
      axisPointer: { type: "line", snap: true, lineStyle: { color: look.strong } },
      formatter: (hovered: { dataIndex: number }[]) => {
        const bin = Math.min(hovered[0]?.dataIndex ?? 0, spec.edges.length - 2);
        const [from, to] = [spec.edges[bin] ?? 0, spec.edges[bin + 1] ?? 0];
        return tip(
          spec.x.type === "time" ? `${placeName(from, spec.x)} to ${placeName(to, spec.x)}` : `${spec.x.name} ${withUnit(from, spec.x)} to ${withUnit(to, spec.x)}`,
          spec.series.map((series) => ({
            colour: colourOf(series.key ?? series.name, look),
            name: series.name,
            value: withUnit(series.values[bin] ?? 0, spec.y),
          })),
        );
      },
    },
    series: spec.series.map((series) => {
      const colour = colourOf(series.key ?? series.name, look);
      const last = series.values.at(-1) ?? 0;
      return {
        type: "line",
        step: "end",
        name: series.name,
        color: colour,
        showSymbol: false,
        lineStyle: { width: 1.5, type: series.dashed ? [5, 4] : "solid" },
        areaStyle: { color: faded(colour, series.dashed ? 0 : 0.1) },
        data: [...series.values, last].map((value, index) => [spec.edges[index], value]),
      };
    }),
  };
}
