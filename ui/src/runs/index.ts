// What the page of runs loads beyond what every page has.
import { enableGoing, goTo } from "./going";
import { enlivenTable, type RunsTable } from "./table";

let table: RunsTable | null = null;

function revive(part: HTMLElement): void {
  table = enlivenTable(part);
  // Where nothing was found yet, the first run that is brings the table.
  if (table === null) part.addEventListener("everloop:news", () => void goTo(location.href, true), { once: true });
}

export function enableRuns(enliven: (part: HTMLElement) => void): void {
  const part = document.getElementById("runs");
  if (part === null) return;
  enableGoing((fresh) => {
    enliven(fresh);
    revive(fresh);
  });
  revive(part);
}

/** Whether a key was meant for the table of runs. */
export function moveInRuns(key: string, target: EventTarget | null): boolean {
  return table?.move(key, target) ?? false;
}
