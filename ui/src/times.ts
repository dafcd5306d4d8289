const STEPS: [string, number][] = [
  ["y", 31_557_600],
  ["mo", 2_629_800],
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
];
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

/** "3 min ago", "in 2 h"; under ten seconds "now". */
export function relativeTime(moment: Date, now: Date): string {
  const seconds = (moment.getTime() - now.getTime()) / 1000;
  const far = Math.abs(seconds);
  const step = STEPS.find(([, size]) => far >= size);
  if (far < 10 || step === undefined) return "now";
  const count = `${Math.floor(far / step[1])} ${step[0]}`;
  return seconds < 0 ? `${count} ago` : `in ${count}`;
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
