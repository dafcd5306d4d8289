import type { Axis } from "./spec";

/** Four significant digits, thousands apart, exponents only where nothing else is readable. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  return value.toLocaleString("en-US", { maximumSignificantDigits: size >= 1000 ? 6 : 4 });
}

export function withUnit(value: number, axis: Axis): string {
  return axis.unit ? `${short(value)} ${axis.unit}` : short(value);
}

export function axisTitle(axis: Axis): string {
  return axis.unit ? `${axis.name} (${axis.unit})` : axis.name;
}

const instant = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function placeName(place: number | string, axis: Axis): string {
  if (axis.type === "time") return instant.format(new Date(place));
  if (typeof place === "number" && axis.type !== "category") return `${axis.name} ${withUnit(place, axis)}`;
  return String(place);
}
