// Columns as readers want them: their widths, their order, what a metric shows. All of it is part of the address.
import { goTo } from "./going";

const LEAST = 56;
const STEP = 24;

/** Widths of columns by identifier, as the address holds them: `w=params.alpha:120,Date:90`. */
function widthsIn(address: URL): Map<string, number> {
  const pairs = (address.searchParams.get("w") ?? "").split(",").map((pair) => {
    const at = pair.lastIndexOf(":");
    return [pair.slice(0, at), Number(pair.slice(at + 1))] as const;
  });
  return new Map(pairs.filter(([name, width]) => name !== "" && width >= LEAST && width < 2000));
}

function writeWidth(name: string, width: number | null): void {
  const address = new URL(location.href);
  const widths = widthsIn(address);
  if (width === null) widths.delete(name);
  else widths.set(name, Math.round(width));
  const text = [...widths].map(([each, size]) => `${each}:${size}`).join(",");
  if (text === "") address.searchParams.delete("w");
  else address.searchParams.set("w", text);
  history.replaceState(history.state, "", address);
}

function heads(table: HTMLTableElement): HTMLTableCellElement[] {
  return [...(table.tHead?.rows[table.tHead.rows.length - 1]?.cells ?? [])];
}

const nameOf = (head: HTMLTableCellElement): string => head.dataset["column"] ?? head.textContent?.trim() ?? "";

/** Gives every column the width it has now, or the one the address says, so that rows which come later move nothing. */
export function freezeWidths(table: HTMLTableElement): void {
  const wanted = widthsIn(new URL(location.href));
  const columns = heads(table);
  const natural = columns.map((head) => head.getBoundingClientRect().width);
  const group = document.createElement("colgroup");
  for (const [at, head] of columns.entries()) {
    const column = document.createElement("col");
    column.style.width = `${wanted.get(nameOf(head)) ?? natural[at] ?? LEAST}px`;
    group.append(column);
  }
  table.querySelector("colgroup")?.remove();
  table.caption?.after(group);
  table.style.tableLayout = "fixed";
  fitTable(table);
}

function cols(table: HTMLTableElement): HTMLTableColElement[] {
  return [...table.querySelectorAll("col")];
}

function fitTable(table: HTMLTableElement): void {
  const sum = cols(table).reduce((total, column) => total + Number.parseFloat(column.style.width), 0);
  table.style.width = `${sum}px`;
  table.style.minWidth = "100%";
}

function setWidth(table: HTMLTableElement, at: number, width: number): void {
  const column = cols(table)[at];
  if (column === undefined) return;
  column.style.width = `${Math.max(LEAST, width)}px`;
  fitTable(table);
}

function changeColumns(table: HTMLTableElement, change: (ids: string[]) => string[]): void {
  const ids = shownColumns(table);
  const address = new URL(location.href);
  address.searchParams.delete("column");
  for (const id of change(ids)) address.searchParams.append("column", id);
  void goTo(address);
}

/** The columns that are shown now, in order; the user stands before the name and has no head of its own to drag. */
export function shownColumns(table: HTMLTableElement): string[] {
  const listed = new URL(table.closest<HTMLElement>("[data-window]")?.dataset["window"] ?? "", location.href);
  return listed.searchParams.getAll("column");
}

function moved(ids: string[], id: string, before: string | null): string[] {
  const rest = ids.filter((each) => each !== id);
  const at = before === null ? rest.length : rest.indexOf(before);
  return at < 0 ? ids : [...rest.slice(0, at), id, ...rest.slice(at)];
}

/** A grip at the right edge of every head, and dragging of the heads themselves. */
export function enableColumns(table: HTMLTableElement): void {
  const columns = heads(table);
  for (const [at, head] of columns.entries()) {
    if (at === 0) continue;
    const grip = document.createElement("span");
    grip.className = "grip";
    grip.ariaHidden = "true";
    grip.addEventListener("pointerdown", (event) => startResize(event, table, at, head));
    grip.addEventListener("dblclick", () => fitContent(table, at, head));
    grip.addEventListener("dragstart", (event) => event.preventDefault());
    head.append(grip);
    const id = head.dataset["column"];
    if (id === undefined) continue;
    const menu = document.createElement("button");
    menu.type = "button";
    menu.className = "column-menu";
    menu.ariaLabel = `Column ${head.querySelector("a")?.textContent?.trim() ?? id}`;
    menu.title = "Move, hide, group …";
    menu.setAttribute("aria-haspopup", "menu");
    menu.addEventListener("click", () => openMenu(menu, table, at, head, id));
    head.insertBefore(menu, grip);
    head.draggable = true;
    head.addEventListener("dragstart", (event) => {
      if (head.dataset["resizing"] !== undefined) return event.preventDefault();
      event.dataTransfer?.setData("text/x-column", id);
      if (event.dataTransfer) event.dataTransfer.effectAllowed = "move";
    });
    head.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("text/x-column")) return;
      event.preventDefault();
      head.classList.add("drop");
    });
    head.addEventListener("dragleave", () => head.classList.remove("drop"));
    head.addEventListener("drop", (event) => {
      const dragged = event.dataTransfer?.getData("text/x-column");
      head.classList.remove("drop");
      if (!dragged || dragged === id) return;
      event.preventDefault();
      changeColumns(table, (ids) => {
        const after = ids.indexOf(dragged) < ids.indexOf(id);
        const next = after ? (ids[ids.indexOf(id) + 1] ?? null) : id;
        return moved(ids, dragged, next);
      });
    });
  }
}

function startResize(event: PointerEvent, table: HTMLTableElement, at: number, head: HTMLTableCellElement): void {
  event.preventDefault();
  const start = event.clientX;
  const width = head.getBoundingClientRect().width;
  head.dataset["resizing"] = "";
  head.draggable = false;
  const move = (now: PointerEvent): void => setWidth(table, at, width + now.clientX - start);
  const end = (now: PointerEvent): void => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", end);
    delete head.dataset["resizing"];
    head.draggable = head.dataset["column"] !== undefined;
    writeWidth(nameOf(head), Math.max(LEAST, width + now.clientX - start));
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end);
}

/** As wide as what is in sight asks for. */
function fitContent(table: HTMLTableElement, at: number, head: HTMLTableCellElement): void {
  let most = LEAST;
  for (const row of table.querySelectorAll<HTMLTableRowElement>("tbody tr[data-ref]")) {
    const cell = row.cells[at];
    if (cell !== undefined) most = Math.max(most, textWidth(cell));
  }
  const width = Math.max(most, textWidth(head)) + 26;
  setWidth(table, at, width);
  writeWidth(nameOf(head), width);
}

function textWidth(cell: HTMLElement): number {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getBoundingClientRect().width;
}

/** What can be done with one column, for mouse and keyboard alike. */
function openMenu(button: HTMLButtonElement, table: HTMLTableElement, at: number, head: HTMLTableCellElement, id: string): void {
  document.querySelector(".column-panel")?.remove();
  const panel = document.createElement("div");
  panel.className = "column-panel";
  panel.setAttribute("popover", "auto");
  panel.setAttribute("role", "menu");
  const add = (label: string, act: () => void): void => {
    const item = document.createElement("button");
    item.type = "button";
    item.setAttribute("role", "menuitem");
    item.textContent = label;
    item.addEventListener("click", () => {
      panel.hidePopover();
      act();
    });
    panel.append(item);
  };
  const sort = (way: string): void => {
    const address = new URL(location.href);
    address.searchParams.set("sort", `${head.dataset["query"]}${way}`);
    void goTo(address);
  };
  if (id !== "duration") {
    add("Sort, least first", () => sort(""));
    add("Sort, greatest first", () => sort(" desc"));
  }
  const neighbours = shownColumns(table);
  const place = neighbours.indexOf(id);
  if (place > 0) add("Move left", () => changeColumns(table, (ids) => moved(ids, id, ids[place - 1] ?? null)));
  if (place >= 0 && place < neighbours.length - 1) {
    add("Move right", () => changeColumns(table, (ids) => moved(ids, id, ids[place + 2] ?? null)));
  }
  add("Wider", () => widen(table, at, head, STEP * 2));
  add("Narrower", () => widen(table, at, head, -STEP * 2));
  if (head.dataset["group"] === "param" || head.dataset["group"] === "tag") {
    add("Group by it", () => {
      const address = new URL(location.href);
      address.searchParams.set("group", head.dataset["query"] ?? "");
      void goTo(address);
    });
  }
  if (head.dataset["group"] === "metric") {
    const key = id.replace(/^(?:first|min|max|mean|count)\((.*)\)$/s, "$1");
    for (const [word, label] of [["", "last"], ["min", "least"], ["max", "greatest"], ["mean", "mean"], ["first", "first"]]) {
      const other = word === "" ? key : `${word}(${key})`;
      if (other !== id) {
        add(`Show its ${label} value`, () => changeColumns(table, (ids) => ids.map((each) => (each === id ? other : each))));
      }
    }
  }
  add("Hide", () => changeColumns(table, (ids) => ids.filter((each) => each !== id)));
  document.body.append(panel);
  panel.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState === "closed") {
      panel.remove();
      if (button.isConnected) button.focus({ preventScroll: true });
    }
  });
  panel.addEventListener("keydown", (event) => {
    const items = [...panel.querySelectorAll("button")];
    const now = items.indexOf(document.activeElement as HTMLButtonElement);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    items[(now + step + items.length) % items.length]?.focus();
  });
  panel.showPopover();
  const place2 = button.getBoundingClientRect();
  const size = panel.getBoundingClientRect();
  panel.style.left = `${Math.max(8, Math.min(place2.left, innerWidth - size.width - 8))}px`;
  panel.style.top = `${Math.min(place2.bottom + 4, innerHeight - size.height - 8)}px`;
  panel.querySelector("button")?.focus();
}

function widen(table: HTMLTableElement, at: number, head: HTMLTableCellElement, by: number): void {
  const width = Math.max(LEAST, head.getBoundingClientRect().width + by);
  setWidth(table, at, width);
  writeWidth(nameOf(head), width);
}
