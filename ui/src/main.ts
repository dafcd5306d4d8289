// What every page loads: swapping of parts (htmx), shortcuts, tables, times. Plots come only where one is shown.
import "htmx.org";
import { enableCopying } from "./copy";
import { enableFindingRows } from "./find-rows";
import { enableDeeds } from "./deeds";
import { enableLive } from "./live";
import { followMlflowLinks } from "./mlflow-links";
import { enableShortcuts } from "./shortcuts";
import { enableTables, moveWith, restoreSelection } from "./tables";
import { enableThemeSwitch } from "./theme-switch";
import { showTimes } from "./times";

/** Brings new parts of the page to life: called for the whole page and for every swapped part. */
async function enliven(part: ParentNode): Promise<void> {
  showTimes(part);
  restoreSelection(part);
  // Grids over time end with the newest: what there is no room for is the past.
  for (const wrap of part.querySelectorAll(".table-wrap:has(> .grid)")) wrap.scrollLeft = wrap.scrollWidth;
  if (part.querySelector("[data-plot]") !== null) {
    const plots = await import("./plots");
    plots.drawPlots(part);
  }
  if (part.querySelector("[data-lineage]") !== null) {
    const lineage = await import("./lineage");
    lineage.drawLineage(part);
  }
  if (part.querySelector("[data-labelling], form[data-undo]") !== null) {
    const labelling = await import("./labelling");
    labelling.enableLabelling(part);
  }
}

followMlflowLinks();
enableThemeSwitch();
enableShortcuts();
enableCopying();
enableDeeds();
enableTables();
enableFindingRows();
enableLive((part) => void enliven(part));
document.addEventListener("htmx:afterSettle", (event) => {
  // Rows that were added belong to a table, whose picked rows are counted anew.
  const part = event.target as HTMLElement;
  void enliven(part.closest("table")?.parentElement ?? part);
});
setInterval(() => showTimes(document), 30_000);
if (document.getElementById("runs") !== null) {
  void import("./runs").then((runs) => {
    runs.enableRuns((part) => void enliven(part));
    moveWith(runs.moveInRuns);
  });
}
void enliven(document);
