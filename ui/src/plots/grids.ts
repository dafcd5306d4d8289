// Plots of many things at once: heat maps, parallel coordinates, estimates with intervals.
import type { Look } from "./look";
import { between, colourOf, faded } from "./look";
import { axisTitle, short, withUnit } from "./numbers";
import type { Option } from "./parts";
import { axis, frame, tooltipBox } from "./parts";
import type { ForestSpec, HeatmapSpec, ParallelSpec } from "./spec";
import { tip } from "./tooltip";

export function heatmapPlot(spec: HeatmapSpec, look: Look): Option {
  const cells = spec.values.flatMap((row, y) => row.map((value, x) => [x, y, value ?? "-"] as const));
  const known = spec.values.flat().filter((value): value is number => value !== null);
  const least = spec.value.min ?? Math.min(0, ...known);
  const most = spec.value.max ?? Math.max(...known, least + Number.EPSILON);
  return {
    animation: false,
    textStyle: { fontFamily: look.font },
    grid: { left: 12, right: 92, top: 10, bottom: 28, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    xAxis: { ...axis({ ...spec.x, type: "category" }, look, "x"), splitArea: { show: false } },
    yAxis: {
      ...axis({ ...spec.y, name: "", type: "category" }, look, "y"),
      inverse: true,
      splitLine: { show: false },
      axisLabel: { color: look.text, fontSize: 12 },
    },
    visualMap: {
      type: "continuous",
      min: least,
      max: most,
      calculable: false,
      hoverLink: false,
      right: 6,
      top: "center",
      itemWidth: 10,
      itemHeight: 110,
      text: [`${short(most)}${spec.value.unit ? ` ${spec.value.unit}` : ""}`, `${short(least)}`],
      textStyle: { color: look.muted, fontSize: 11 },
      inRange: { color: least < 0 ? look.diverging : look.heat },
    },
    tooltip: {
      ...tooltipBox(),
      trigger: "item",
      formatter: (hovered: { value: [number, number, number | "-"] }) => {
        const [x, y, value] = hovered.value;
        return tip(`${spec.y.categories[y] ?? ""}, ${spec.x.categories[x] ?? ""}`, [
          { name: spec.value.name, value: value === "-" ? "nothing measured" : withUnit(value, spec.value) },
        ]);
      },
    },
    series: [
      {
        type: "heatmap",
        data: cells,
        label: {
          show: spec.numbers === true,
          color: look.text,
          textBorderColor: look.surface,
          textBorderWidth: 3,
          formatter: (cell: { value: [number, number, number | "-"] }) => (cell.value[2] === "-" ? "" : short(cell.value[2])),
        },
        itemStyle: { borderWidth: 2, borderColor: look.surface, borderRadius: 3 },
        emphasis: { itemStyle: { borderColor: look.text, borderWidth: 1.5 } },
      },
    ],
  };
}

export function parallelPlot(spec: ParallelSpec, look: Look): Option {
  const highlighted = spec.lines.some((line) => line.highlight);
  return {
    animation: false,
    textStyle: { fontFamily: look.font },
    parallel: { left: 48, right: 64, top: 34, bottom: 18, axisExpandable: false },
    parallelAxis: spec.axes.map((one, dim) => ({
      dim,
      name: axisTitle(one),
      type: one.type === "category" ? "category" : one.type === "log" ? "log" : "value",
      ...(one.categories ? { data: one.categories } : {}),
      scale: true,
      nameTextStyle: { color: look.text, fontSize: 12, fontWeight: 500 },
      axisLine: { lineStyle: { color: look.strong } },
      axisTick: { lineStyle: { color: look.strong } },
      axisLabel: {
        color: look.text,
        fontSize: 11,
        textBorderColor: look.surface,
        textBorderWidth: 3,
        ...(one.type === "category" ? {} : { formatter: (value: number) => short(value) }),
      },
      areaSelectStyle: { color: faded(look.accent, 0.2), borderColor: look.accent, width: 14 },
    })),
    tooltip: {
      ...tooltipBox(),
      trigger: "item",
      formatter: (hovered: { seriesIndex: number }) => {
        const line = spec.lines[hovered.seriesIndex];
        if (line === undefined) return "";
        return tip(
          line.name,
          spec.axes.map((one, index) => {
            const value = line.values[index];
            return { name: one.name, value: typeof value === "number" ? withUnit(value, one) : String(value ?? "–") };
          }),
        );
      },
    },
    series: spec.lines.map((line) => ({
      type: "parallel",
      name: line.name,
      smooth: 0.12,
      lineStyle: {
        color: line.shade === undefined ? colourOf(line.key ?? line.name, look) : between(look.heat.slice(1), line.shade),
        width: line.highlight ? 2.5 : spec.lines.length > 100 ? 1 : 1.5,
        opacity: highlighted && !line.highlight ? 0.3 : spec.lines.length > 100 ? 0.6 : 0.85,
      },
      emphasis: { lineStyle: { width: 3, opacity: 1 } },
      data: [line.values.map((value) => value ?? "-")],
    })),
  };
}

interface ForestApi {
  coord(point: [number, number]): [number, number];
}

export function forestPlot(spec: ForestSpec, look: Look): Option {
  const names = spec.rows.map((row) => row.name);
  const reference = spec.reference;
  return {
    ...frame(look, []),
    grid: { left: 12, right: 24, top: 24, bottom: 28, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    xAxis: {
      ...axis(spec.x, look, "x"),
      boundaryGap: ["6%", "6%"],
      splitLine: { show: true, lineStyle: { color: look.line } },
    },
    yAxis: {
      ...axis({ name: "", type: "category", categories: names }, look, "y"),
      inverse: true,
      splitLine: { show: false },
      axisLabel: { color: look.text, fontSize: 12 },
    },
    tooltip: {
      ...tooltipBox(),
      trigger: "item",
      formatter: (hovered: { dataIndex: number }) => {
        const row = spec.rows[hovered.dataIndex];
        if (row === undefined) return "";
        return tip(row.name, [
          {
            name: spec.x.name,
            value: row.estimate === null ? "–" : withUnit(row.estimate, spec.x),
            range: `${withUnit(row.low, spec.x)} – ${withUnit(row.high, spec.x)}`,
          },
        ]);
      },
    },
    series: [
      {
        type: "custom",
        encode: { x: [0, 1, 2], y: 3 },
        data: spec.rows.map((row, index) => [row.low, row.high, row.estimate ?? row.low, index]),
        markLine: reference && {
          silent: true,
          symbol: "none",
          data: [{ xAxis: reference.at }],
          lineStyle: { color: look.text, type: "solid", width: 1 },
          label: { formatter: reference.label, position: "start", color: look.muted, fontSize: 11 },
        },
        renderItem: (item: { dataIndex: number }, api: ForestApi) => {
          const row = spec.rows[item.dataIndex];
          if (row === undefined) return null;
          const [left, y] = api.coord([row.low, item.dataIndex]);
          const [right] = api.coord([row.high, item.dataIndex]);
          const clear = reference !== undefined && (row.low > reference.at || row.high < reference.at);
          const colour = row.key ? colourOf(row.key, look) : clear ? look.accent : look.muted;
          const line = (x1: number, y1: number, x2: number, y2: number, lineWidth: number): Option => ({
            type: "line",
            shape: { x1, y1, x2, y2 },
            style: { stroke: colour, lineWidth, lineCap: "round" },
          });
          const children = [
            line(left, y, right, y, 2),
            line(left, y - 4, left, y + 4, 1.5),
            line(right, y - 4, right, y + 4, 1.5),
          ];
          if (row.estimate !== null) {
            const [cx] = api.coord([row.estimate, item.dataIndex]);
            children.push({ type: "circle", shape: { cx, cy: y, r: 4.5 }, style: { fill: colour } });
          }
          // An invisible strip makes the whole row answer to the pointer.
          children.push({
            type: "rect",
            shape: { x: Math.min(left, right) - 8, y: y - 9, width: Math.abs(right - left) + 16, height: 18 },
            style: { fill: "transparent" },
          });
          return { type: "group", children };
        },
      },
    ],
  };
}
