// Rows as the server writes them, kept by the run's identifier; asked for when they come into sight.
import { showTimes } from "../times";

const AT_ONCE = 80;
const MOST_KEPT = 3000;

export class Rows {
  readonly #kept = new Map<string, HTMLTableRowElement>();
  readonly #gone = new Set<string>();
  #address: string;
  #asking = false;
  readonly #arrived: () => void;

  constructor(address: string, present: Iterable<HTMLTableRowElement>, arrived: () => void) {
    this.#address = address;
    this.#arrived = arrived;
    for (const row of present) this.#keep(row);
  }

  get(id: string): HTMLTableRowElement | undefined {
    return this.#kept.get(id);
  }

  /** Asks for those that are not here yet. While an answer is on its way nothing is asked: whoever drags the scroll bar does
      not wait for what flew by. */
  want(ids: string[]): void {
    if (this.#asking) return;
    const missing = ids.filter((id) => !this.#kept.has(id) && !this.#gone.has(id));
    if (missing.length > 0) void this.#ask(missing.slice(0, AT_ONCE));
  }

  /** Reads some rows again, because something happened. */
  async renew(ids: string[]): Promise<void> {
    for (let from = 0; from < ids.length; from += AT_ONCE) await this.#fetch(ids.slice(from, from + AT_ONCE));
    this.#arrived();
  }

  /** Forgets the rows that are not among these: they are asked for again when they come into sight. */
  keepOnly(ids: Iterable<string>): void {
    const kept = new Set(ids);
    for (const id of this.#kept.keys()) if (!kept.has(id)) this.#kept.delete(id);
    this.#gone.clear();
  }

  async #ask(ids: string[]): Promise<void> {
    this.#asking = true;
    try {
      await this.#fetch(ids);
    } finally {
      this.#asking = false;
    }
    this.#arrived(); // which asks for what is in sight by now
  }

  async #fetch(ids: string[]): Promise<void> {
    const address = `${this.#address}&ids=${ids.join(",")}`;
    const response = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
    if (response === null || !response.ok) {
      for (const id of ids) this.#gone.add(id);
      return;
    }
    const template = document.createElement("template");
    template.innerHTML = `<table><tbody>${await response.text()}</tbody></table>`;
    showTimes(template.content);
    for (const row of template.content.querySelectorAll("tr")) this.#keep(row);
    for (const id of ids) if (!this.#kept.has(id)) this.#gone.add(id);
  }

  #keep(row: HTMLTableRowElement): void {
    const id = idOf(row);
    this.#kept.delete(id);
    this.#kept.set(id, row);
    if (this.#kept.size > MOST_KEPT) {
      const oldest = this.#kept.keys().next().value;
      if (oldest !== undefined) this.#kept.delete(oldest);
    }
  }
}

export function idOf(row: HTMLElement): string {
  return row.dataset["ref"]?.slice("run:".length) ?? "";
}
