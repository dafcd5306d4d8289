// What the page of runs loads beyond what every page has.
import { enableGoing } from "./going";
import { enlivenTable, type RunsTable } from "./table";

let table: RunsTable | null = null;

export function enableRuns(enliven: (part: HTMLElement) => void): void {
  const part = document.getElementById("runs");
  if (part === null) return;
  enableGoing((fresh) => {
    enliven(fresh);
    table = enlivenTable(fresh);
  });
  table = enlivenTable(part);
}

/** Whether a key was meant for the table of runs. */
export function moveInRuns(key: string, target: EventTarget | null): boolean {
  return table?.move(key, target) ?? false;
}
