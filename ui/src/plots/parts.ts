import type { EChartsCoreOption } from "echarts/core";
import type { Look } from "./look";
import { faded } from "./look";
import { axisTitle, short } from "./numbers";
import type { Axis, Threshold } from "./spec";

export type Option = EChartsCoreOption;

/** What all plots with two axes share. */
export function frame(look: Look, legend: string[]): Option {
  return {
    animation: false,
    textStyle: { fontFamily: look.font, color: look.text },
    grid: {
      left: 12,
      right: 20,
      top: legend.length > 1 ? 50 : 30,
      bottom: 26,
      outerBoundsMode: "same",
      outerBoundsContain: "axisLabel",
    },
    legend: {
      show: legend.length > 1,
      type: "scroll",
      data: legend,
      top: 0,
      left: 4,
      itemWidth: 14,
      itemHeight: 8,
      itemGap: 14,
      icon: "roundRect",
      textStyle: { color: look.muted, fontSize: 12, lineHeight: 20 },
      pageIconColor: look.muted,
      pageIconInactiveColor: look.line,
      pageTextStyle: { color: look.muted },
      inactiveColor: look.strong,
    },
  };
}

export function tooltipBox(): Option {
  return {
    confine: true,
    // The library's own box is invisible: what is seen is the element of tooltip.ts, styled by the style sheet.
    backgroundColor: "transparent",
    borderWidth: 0,
    padding: 0,
    extraCssText: "box-shadow: none;",
    transitionDuration: 0,
  };
}

export function axis(spec: Axis, look: Look, side: "x" | "y"): Option {
  const type = spec.type ?? "number";
  const common = {
    name: axisTitle(spec),
    nameLocation: side === "x" ? "middle" : "end",
    nameGap: side === "x" ? 26 : 12,
    nameTextStyle: {
      color: look.muted,
      fontSize: 11,
      align: side === "x" ? "center" : "left",
      ...(side === "y" ? { padding: [0, 0, 0, -24] } : {}),
    },
    axisLine: { show: side === "x", lineStyle: { color: look.strong } },
    axisTick: { show: side === "x" && type !== "category", lineStyle: { color: look.strong }, length: 4 },
    axisLabel: { color: look.muted, fontSize: 11, hideOverlap: true },
    splitLine: { show: side === "y", lineStyle: { color: look.line } },
    min: spec.min,
    max: spec.max,
  };
  if (type === "category") {
    return { ...common, type: "category", data: spec.categories ?? [] };
  }
  if (type === "time") {
    // The month goes with every day: a bare "17" says nothing.
    const formatter = {
      year: "{yyyy}",
      month: "{MMM} {yyyy}",
      day: "{d} {MMM}",
      hour: "{HH}:{mm}",
      minute: "{HH}:{mm}",
      second: "{HH}:{mm}:{ss}",
    };
    return { ...common, type: "time", axisLabel: { ...common.axisLabel, formatter } };
  }
  if (type === "log") {
    // Left alone, the axis would grow to whole powers of ten and flatten a narrow range.
    return {
      ...common,
      type: "log",
      min: spec.min ?? (({ min }: { min: number }) => (min > 0 ? min / 1.05 : undefined)),
      max: spec.max ?? (({ max }: { max: number }) => max * 1.05),
      axisLabel: { ...common.axisLabel, formatter: (value: number) => short(value) },
    };
  }
  return {
    ...common,
    type: "value",
    scale: !spec.zero,
    ...(spec.whole ? { minInterval: 1 } : {}),
    axisLabel: { ...common.axisLabel, formatter: (value: number) => short(value) },
    splitNumber: side === "y" ? 4 : 6,
  };
}

/** Thresholds as level lines. */
export function thresholdLines(look: Look, thresholds: Threshold[] = []): Option | undefined {
  if (thresholds.length === 0) return undefined;
  return {
    silent: true,
    symbol: "none",
    label: { fontSize: 11, color: look.muted },
    data: thresholds.map((threshold) => ({
      yAxis: threshold.y,
      name: threshold.label,
      lineStyle: { color: look.warn, type: [4, 3], width: 1 },
      label: {
        formatter: threshold.label,
        position: "insideEndTop",
        color: look.warn,
        backgroundColor: faded(look.surface, 0.85),
        padding: [1, 3],
      },
    })),
  };
}
