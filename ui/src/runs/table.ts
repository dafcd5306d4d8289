// The table of runs: of very many lines only those in sight are in the page. Two spacers stand for the others, so the scroll
// bar tells the truth; rows that are not here yet are empty lines of the same height.
import { short } from "../plots/numbers";
import { showTimes } from "../times";
import { enableChooser } from "./chooser";
import { enableColumns, freezeWidths, shownColumns } from "./columns";
import { groupKey, isParent, type Line, linesOf, type Outline } from "./outline";
import { Picked } from "./picking";
import { idOf, Rows } from "./rows";

/** Lines that are kept ready above and below what is in sight. */
const SPARE = 24;
const NEWS_WAIT = 1500;

export class RunsTable {
  readonly #part: HTMLElement;
  readonly #wrap: HTMLElement;
  readonly #table: HTMLTableElement;
  readonly #body: HTMLTableSectionElement;
  readonly #form: HTMLFormElement;
  readonly #rows: Rows;
  readonly #picked = new Picked();
  readonly #folded = new Set<string>();
  readonly #height: number;
  readonly #above = spacer();
  readonly #below = spacer();
  #outline: Outline;
  #lines: Line[];
  #range: [number, number] = [0, 0];
  #cursor = -1;
  #news: number | undefined;
  #ready = false;

  constructor(part: HTMLElement, form: HTMLFormElement, table: HTMLTableElement) {
    this.#part = part;
    this.#form = form;
    this.#table = table;
    this.#wrap = table.parentElement as HTMLElement;
    this.#body = table.tBodies[0] as HTMLTableSectionElement;
    const present = [...this.#body.querySelectorAll<HTMLTableRowElement>("tr[data-ref]")];
    this.#height = present[0]?.getBoundingClientRect().height ?? 34;
    // Until the whole order is here, the first rows are what there is.
    this.#outline = { run_ids: present.map(idOf), matching: Number(part.dataset["total"]), depths: [], context: [], groups: [] };
    this.#lines = linesOf(this.#outline, this.#folded);
    this.#rows = new Rows(part.dataset["window"] ?? "", present, () => this.#show(true));
    // Until now the table was one like others (tables.ts), so that no key was lost.
    delete table.dataset["rows"];
    freezeWidths(table);
    enableColumns(table);
    const chooser = part.querySelector<HTMLElement>("[data-chooser]");
    if (chooser !== null) enableChooser(chooser, shownColumns(table));
    this.#part.querySelector("[data-pages]")?.remove();
    this.#listen();
    this.#show(true);
    void this.#read();
  }

  #listen(): void {
    let frame = 0;
    this.#wrap.addEventListener(
      "scroll",
      () => {
        if (frame === 0) {
          frame = requestAnimationFrame(() => {
            frame = 0;
            this.#show();
          });
        }
      },
      { passive: true },
    );
    new ResizeObserver(() => this.#show()).observe(this.#wrap);
    this.#table.addEventListener("click", (event) => this.#clicked(event));
    this.#form.addEventListener("submit", () => this.#picked.fill(this.#form));
    this.#part.addEventListener("everloop:news", () => {
      if (this.#news === undefined) this.#news = window.setTimeout(() => void this.#renew(), NEWS_WAIT);
    });
    this.#part.addEventListener("everloop:gone", () => window.clearTimeout(this.#news));
  }

  async #read(): Promise<void> {
    const response = await fetch(this.#part.dataset["outline"] ?? "");
    if (!response.ok || !this.#part.isConnected) return;
    const outline = (await response.json()) as Outline;
    const top = this.#lines[Math.floor(this.#wrap.scrollTop / this.#height)];
    const anchor = this.#wrap.scrollTop > this.#height && top !== undefined && "run" in top ? this.#outline.run_ids[top.run] : undefined;
    const before = anchor === undefined ? -1 : this.#lineOf(anchor);
    this.#outline = outline;
    this.#lines = linesOf(outline, this.#folded);
    this.#ready = true;
    const after = anchor === undefined ? -1 : this.#lineOf(anchor);
    this.#show(true);
    // What the reader looks at stays where it is, though rows have come above it.
    if (before >= 0 && after >= 0 && after !== before) this.#wrap.scrollTop += (after - before) * this.#height;
    const count = this.#part.querySelector("[data-count]");
    const shown = outline.run_ids.length - outline.context.length;
    if (count !== null) {
      const all = outline.matching.toLocaleString("en-US");
      count.textContent =
        shown < outline.matching
          ? `the first ${shown.toLocaleString("en-US")} of ${all} runs`
          : `${all} run${outline.matching === 1 ? "" : "s"}`;
    }
  }

  /** Something happened to runs: what is in sight is read again, the rest when it comes into sight. */
  async #renew(): Promise<void> {
    this.#news = undefined;
    if (!this.#part.isConnected) return;
    const seen = this.#idsIn(...this.#range);
    this.#rows.keepOnly(seen);
    await Promise.all([this.#read(), this.#rows.renew(seen)]);
  }

  #lineOf(id: string): number {
    const at = this.#outline.run_ids.indexOf(id);
    return this.#lines.findIndex((line) => "run" in line && line.run === at);
  }

  #idsIn(from: number, to: number): string[] {
    return this.#lines.slice(from, to).flatMap((line) => ("run" in line ? [this.#outline.run_ids[line.run] ?? ""] : []));
  }

  /** Puts the lines in sight into the page; not `anew`, only when the reader nears the end of those that are there. */
  #show(anew = false): void {
    const first = Math.max(0, Math.floor(this.#wrap.scrollTop / this.#height));
    const last = Math.min(this.#lines.length, first + Math.ceil(this.#wrap.clientHeight / this.#height) + 1);
    const [from, to] = this.#range;
    const near = SPARE / 3;
    const enough = (from === 0 || first - from > near) && (to >= this.#lines.length || to - last > near);
    if (!anew && enough) return;
    const range: [number, number] = [Math.max(0, first - SPARE), Math.min(this.#lines.length, last + SPARE)];
    this.#range = range;
    const active = document.activeElement;
    const held = active instanceof HTMLElement && this.#body.contains(active) ? active : null;
    const heldRow = held?.closest<HTMLElement>("tr[data-ref]");
    const lines = this.#lines.slice(...range).map((line, at) => this.#line(line, range[0] + at));
    const above = range[0] * this.#height;
    const below = (this.#lines.length - range[1]) * this.#height;
    // The body never gets shorter on the way: the browser would move the reader up.
    grow(this.#above, above);
    grow(this.#below, below);
    exchange(this.#body, [...(above > 0 ? [this.#above] : []), ...lines, ...(below > 0 ? [this.#below] : [])]);
    this.#above.style.height = `${above}px`;
    this.#below.style.height = `${below}px`;
    // A row that was read again is another element: the focus goes along.
    if (held !== null && !held.isConnected && heldRow) {
      const again = this.#rows.get(idOf(heldRow));
      const same = held === heldRow ? again : again?.querySelector<HTMLElement>(held.matches("a") ? "a[href]" : "input, button");
      if (again?.isConnected && same) {
        if (same === again) again.tabIndex = -1;
        same.focus({ preventScroll: true });
      }
    }
    this.#table.setAttribute("aria-rowcount", String(this.#lines.length + 2));
    this.#rows.want(this.#idsIn(...range));
    this.#picked.show(this.#form, this.#matching());
  }

  #line(line: Line, at: number): HTMLTableRowElement {
    if ("group" in line) return this.#groupHead(line.group, at);
    const id = this.#outline.run_ids[line.run] ?? "";
    const row = this.#rows.get(id) ?? waiting(id, this.#table);
    row.ariaRowIndex = String(at + 3);
    const box = row.querySelector<HTMLInputElement>(".pick input");
    if (box !== null && box.checked !== this.#picked.has(id)) box.checked = !box.checked;
    row.classList.toggle("picked", this.#picked.has(id));
    if (this.#part.dataset["nested"] !== undefined) this.#nest(row, line.run, id);
    return row;
  }

  #nest(row: HTMLTableRowElement, at: number, id: string): void {
    const cell = row.querySelector("td.first");
    if (cell === null) return;
    const parent = isParent(this.#outline, at);
    cell.className = `first depth-${Math.min(6, this.#outline.depths[at] ?? 0)}${parent ? " parent" : ""}`;
    row.classList.toggle("context", this.#outline.context.includes(at));
    let button = cell.querySelector<HTMLButtonElement>("button.fold");
    if (!parent) {
      button?.remove();
      return;
    }
    if (button === null) {
      button = foldButton();
      cell.prepend(button);
    }
    tellFold(button, !this.#folded.has(id), `runs within ${row.querySelector("td.first a")?.textContent ?? id}`);
  }

  #groupHead(number: number, at: number): HTMLTableRowElement {
    const group = this.#outline.groups[number];
    const row = document.createElement("tr");
    row.className = "group-row";
    row.ariaRowIndex = String(at + 3);
    if (group === undefined) return row;
    row.dataset["group"] = String(number);
    const heads = [...(this.#table.tHead?.rows[1]?.cells ?? [])];
    const firstColumn = heads.findIndex((head) => head.dataset["column"] !== undefined);
    const title = document.createElement("th");
    title.colSpan = firstColumn < 0 ? heads.length : firstColumn;
    title.scope = "rowgroup";
    const button = foldButton();
    tellFold(button, !this.#folded.has(groupKey(group)), `group ${group.value ?? "without it"}`);
    const name = document.createElement("b");
    name.textContent = group.value ?? "without it";
    const count = document.createElement("span");
    count.className = "muted";
    count.textContent = ` ${group.runs.toLocaleString("en-US")} run${group.runs === 1 ? "" : "s"}`;
    title.append(button, name, count);
    row.append(title);
    let metric = 0;
    for (const head of firstColumn < 0 ? [] : heads.slice(firstColumn)) {
      const cell = document.createElement("td");
      if (head.dataset["group"] === "metric") {
        const spread = group.spreads[metric];
        metric += 1;
        cell.className = "num";
        if (spread?.mean !== null && spread?.mean !== undefined) {
          cell.textContent = short(spread.mean);
          cell.title = `mean of ${spread.runs} runs; least ${short(spread.min ?? NaN)}, greatest ${short(spread.max ?? NaN)}`;
        }
      }
      row.append(cell);
    }
    return row;
  }

  #matching(): string[] {
    if (!this.#ready) return this.#outline.run_ids;
    if (this.#outline.context.length === 0) return this.#outline.run_ids;
    const there = new Set(this.#outline.context);
    return this.#outline.run_ids.filter((_, at) => !there.has(at));
  }

  #clicked(event: MouseEvent): void {
    const target = event.target as HTMLElement;
    const fold = target.closest("button.fold");
    if (fold !== null) {
      const row = fold.closest("tr") as HTMLTableRowElement;
      const group = this.#outline.groups[Number(row.dataset["group"] ?? NaN)];
      const key = group === undefined ? idOf(row) : groupKey(group);
      if (!this.#folded.delete(key)) this.#folded.add(key);
      this.#lines = linesOf(this.#outline, this.#folded);
      this.#show(true);
      if (group !== undefined) {
        this.#body.querySelector<HTMLElement>(`tr[data-group="${row.dataset["group"]}"] button.fold`)?.focus({ preventScroll: true });
      }
      return;
    }
    if (!(target instanceof HTMLInputElement) || target.type !== "checkbox" || target.closest(".pick") === null) return;
    const all = this.#matching();
    if (target.closest("thead") !== null) this.#picked.setAll(all, target.checked);
    else this.#picked.set(target.value, target.checked, all, event.shiftKey);
    this.#show(true);
  }

  /** `j` and `k` walk, space picks, Enter opens. Returns whether the key was meant for the table. */
  move(key: string, target: EventTarget | null): boolean {
    const row = document.activeElement?.closest<HTMLTableRowElement>("tr") ?? null;
    const current = row !== null && this.#body.contains(row) ? row : null;
    if (key === "j" || key === "k") {
      if (current?.dataset["ref"] !== undefined) this.#cursor = this.#lineOf(idOf(current));
      const next = Math.max(0, Math.min(this.#lines.length - 1, this.#cursor + (key === "j" ? 1 : -1)));
      this.#cursor = next;
      this.#reveal(next);
      const line = this.#lines[next];
      const there =
        line === undefined
          ? null
          : "group" in line
            ? this.#body.querySelector<HTMLElement>(`tr[data-group="${line.group}"]`)
            : this.#body.querySelector<HTMLElement>(`tr[data-ref="run:${this.#outline.run_ids[line.run]}"]`);
      if (there === null) return true;
      there.tabIndex = -1;
      there.focus({ preventScroll: true });
      return true;
    }
    if (current === null || target !== current) return false;
    if (key === " ") {
      current.querySelector<HTMLElement>(".pick input, button.fold")?.click();
      return true;
    }
    if (key === "Enter") {
      current.querySelector<HTMLElement>("td.first a[href], button.fold")?.click();
      return true;
    }
    return false;
  }

  #reveal(line: number): void {
    const head = this.#table.tHead?.getBoundingClientRect().height ?? 0;
    const top = line * this.#height;
    const room = this.#wrap.clientHeight - head - this.#height;
    if (top < this.#wrap.scrollTop) this.#wrap.scrollTop = top;
    else if (top > this.#wrap.scrollTop + room) this.#wrap.scrollTop = top - room;
    this.#show();
  }
}

/** Makes these the rows of the body, touching only those that come and go: first come, then go. */
function exchange(body: HTMLTableSectionElement, rows: HTMLTableRowElement[]): void {
  const wanted = new Set<Element>(rows);
  let next = body.firstElementChild;
  for (const row of rows) {
    while (next !== null && !wanted.has(next)) next = next.nextElementSibling;
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  }
  for (const present of [...body.children]) if (!wanted.has(present)) present.remove();
}

function grow(row: HTMLTableRowElement, height: number): void {
  if (height > Number.parseFloat(row.style.height || "0")) row.style.height = `${height}px`;
}

function spacer(): HTMLTableRowElement {
  const row = document.createElement("tr");
  row.className = "spacer";
  row.ariaHidden = "true";
  const cell = document.createElement("td");
  cell.colSpan = 1000;
  row.append(cell);
  return row;
}

/** A line whose row is on its way. */
function waiting(id: string, table: HTMLTableElement): HTMLTableRowElement {
  const row = document.createElement("tr");
  row.className = "waiting";
  row.dataset["ref"] = `run:${id}`;
  const columns = table.tHead?.rows[1]?.cells.length ?? 1;
  for (let at = 0; at < columns; at += 1) row.append(document.createElement("td"));
  return row;
}

function foldButton(): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold plain";
  return button;
}

function tellFold(button: HTMLButtonElement, open: boolean, what: string): void {
  button.textContent = open ? "▾" : "▸";
  button.ariaExpanded = String(open);
  button.ariaLabel = `${open ? "Fold" : "Unfold"} ${what}`;
}

/** Brings the table of a page to life; null where the part has none (nothing found, an error). */
export function enlivenTable(part: HTMLElement): RunsTable | null {
  const form = part.querySelector<HTMLFormElement>("form[data-picking]");
  const table = form?.querySelector<HTMLTableElement>("table.list") ?? null;
  if (form === null || table === null || part.dataset["runs"] === undefined) return null;
  showTimes(part);
  return new RunsTable(part, form, table);
}
