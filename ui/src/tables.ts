// Tables of rows one can walk through and pick. The picked rows are part of the address, so a link shows them too.

function rows(): HTMLTableRowElement[] {
  return [...document.querySelectorAll<HTMLTableRowElement>("table[data-rows] > tbody > tr")];
}

function picks(table: Element): HTMLInputElement[] {
  return [...table.querySelectorAll<HTMLInputElement>("tbody .pick input[type=checkbox]")];
}

type Mover = (key: string, target: EventTarget | null) => boolean;

let other: Mover | null = null;

/** A table that walks in a way of its own, because not all of its rows are in the page. */
export function moveWith(mover: Mover): void {
  other = mover;
}

/** `j` and `k` walk, space picks, Enter opens. Returns whether the key was meant for a table. */
export function moveInTable(key: string, target: EventTarget | null): boolean {
  if (other?.(key, target)) return true;
  const current = document.activeElement?.closest<HTMLTableRowElement>("table[data-rows] > tbody > tr") ?? null;
  if (key === "j" || key === "k") {
    const all = rows();
    const at = current === null ? -1 : all.indexOf(current);
    const next = all[key === "j" ? Math.min(at + 1, all.length - 1) : Math.max(at - 1, 0)];
    if (next === undefined) return false;
    next.tabIndex = -1;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
    return true;
  }
  // Buttons, links and boxes inside a row keep their own space and Enter.
  if (current === null || target !== current) return false;
  if (key === " ") {
    current.querySelector<HTMLInputElement>(".pick input")?.click();
    return true;
  }
  if (key === "Enter") {
    current.querySelector<HTMLAnchorElement>("a[href]")?.click();
    return true;
  }
  return false;
}

/** Says how many rows are picked, enables what can be done with them, and writes them into the address. */
function showSelection(table: HTMLTableElement, writeAddress: boolean): void {
  const boxes = picks(table);
  const picked = boxes.filter((box) => box.checked);
  for (const box of boxes) box.closest("tr")?.classList.toggle("picked", box.checked);
  const all = table.querySelector<HTMLInputElement>("thead .pick input[type=checkbox]");
  if (all !== null) {
    all.checked = boxes.length > 0 && picked.length === boxes.length;
    all.indeterminate = picked.length > 0 && picked.length < boxes.length;
  }
  const form = table.closest("form") ?? document;
  for (const count of form.querySelectorAll("[data-picked]")) {
    count.textContent = picked.length === 0 ? "none picked" : `${picked.length} picked`;
  }
  for (const button of form.querySelectorAll<HTMLButtonElement>("button[data-least]")) {
    const least = Number(button.dataset["least"]);
    const most = Number(button.dataset["most"] ?? Infinity);
    button.disabled = picked.length < least || picked.length > most;
  }
  const parameter = table.dataset["selectParam"];
  if (writeAddress && parameter !== undefined) {
    const address = new URL(location.href);
    // Rows that are picked but not loaded yet (further down a long list) stay picked.
    const here = new Set(boxes.map((box) => box.value));
    const elsewhere = (address.searchParams.get(parameter) ?? "").split(",").filter((one) => one !== "" && !here.has(one));
    const all = [...picked.map((box) => box.value), ...elsewhere];
    if (all.length > 0) address.searchParams.set(parameter, all.join(","));
    else address.searchParams.delete(parameter);
    history.replaceState(history.state, "", address);
  }
}

/** Picks the rows the address names. */
export function restoreSelection(part: ParentNode): void {
  for (const table of part.querySelectorAll<HTMLTableElement>("table[data-rows]")) {
    const parameter = table.dataset["selectParam"];
    const wanted = new Set(parameter ? (new URL(location.href).searchParams.get(parameter) ?? "").split(",") : []);
    for (const box of picks(table)) if (wanted.has(box.value)) box.checked = true;
    showSelection(table, false);
  }
}

export function enableTables(): void {
  let last: HTMLInputElement | null = null;
  document.addEventListener("click", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || box.type !== "checkbox" || box.closest(".pick") === null) return;
    const table = box.closest<HTMLTableElement>("table[data-rows]");
    if (table === null) return;
    const boxes = picks(table);
    if (box.closest("thead") !== null) {
      for (const other of boxes) other.checked = box.checked;
    } else if (event.shiftKey && last !== null && boxes.includes(last)) {
      const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b) as [number, number];
      for (const other of boxes.slice(from, to + 1)) other.checked = box.checked;
    }
    last = box;
    showSelection(table, true);
  });
}
