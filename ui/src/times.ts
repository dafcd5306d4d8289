const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** "3 min ago", "in 2 h"; under ten seconds "now". */
export function relativeTime(moment: Date, now: Date): string {
  const seconds = (moment.getTime() - now.getTime()) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 10 ? "now" : relative.format(Math.trunc(seconds), "second");
}

/** `<time data-relative>` shows how long ago; the exact instant in the reader's zone is shown on hover. */
export function showTimes(part: ParentNode): void {
  const now = new Date();
  for (const element of part.querySelectorAll<HTMLTimeElement>("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    if (!element.dataset["utc"]) element.dataset["utc"] = element.title || element.dateTime;
    element.title = `${exact.format(moment)}\n${element.dataset["utc"]}`;
    if (element.dataset["relative"] !== undefined) element.textContent = relativeTime(moment, now);
  }
}
