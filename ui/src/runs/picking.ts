// The picked runs of a table, also those that are not in sight. Few of them are part of the address, so a link shows them too.

const IN_ADDRESS = 60;

export class Picked {
  readonly #ids: Set<string>;
  #last: string | null = null;

  constructor() {
    this.#ids = new Set((new URL(location.href).searchParams.get("picked") ?? "").split(",").filter((id) => id !== ""));
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  get size(): number {
    return this.#ids.size;
  }

  /** Picks or drops one; with `upTo` all between the one picked last and this, in the order of `all`. */
  set(id: string, on: boolean, all: string[], upTo: boolean): void {
    const from = upTo && this.#last !== null ? all.indexOf(this.#last) : -1;
    const to = all.indexOf(id);
    const some = from >= 0 && to >= 0 ? all.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const each of some) {
      if (on) this.#ids.add(each);
      else this.#ids.delete(each);
    }
    this.#last = id;
  }

  setAll(all: string[], on: boolean): void {
    if (on) for (const id of all) this.#ids.add(id);
    else this.#ids.clear();
  }

  /** Drops what is no longer in the table. */
  within(all: string[]): void {
    const there = new Set(all);
    for (const id of this.#ids) if (!there.has(id)) this.#ids.delete(id);
  }

  /** Says how many are picked, enables what can be done with them, and writes them into the address. */
  show(form: HTMLElement, all: string[]): void {
    const box = form.querySelector<HTMLInputElement>("thead .pick input");
    if (box !== null) {
      box.checked = all.length > 0 && this.size >= all.length;
      box.indeterminate = this.size > 0 && this.size < all.length;
    }
    for (const count of form.querySelectorAll("[data-picked]")) {
      count.textContent = this.size === 0 ? "none picked" : `${this.size.toLocaleString("en-US")} picked`;
    }
    for (const button of form.querySelectorAll<HTMLButtonElement>("button[data-least]")) {
      if (button.title !== "" && button.dataset["own"] === undefined && button.disabled && button.dataset["seen"] === undefined) {
        button.dataset["own"] = "";  // it is off for a reason of its own, which it says
      }
      button.dataset["seen"] = "";
      if (button.dataset["own"] !== undefined) continue;
      const least = Number(button.dataset["least"]);
      const most = Number(button.dataset["most"] ?? Infinity);
      button.disabled = this.size < least || this.size > most;
    }
    const address = new URL(location.href);
    if (this.size > 0 && this.size <= IN_ADDRESS) address.searchParams.set("picked", [...this.#ids].join(","));
    else address.searchParams.delete("picked");
    if (address.href !== location.href) history.replaceState(history.state, "", address);
  }

  /** Before a form is sent: the picked rows that are not in the page go along as fields. */
  fill(form: HTMLFormElement): void {
    for (const old of form.querySelectorAll("input[data-far]")) old.remove();
    const here = new Set([...form.querySelectorAll<HTMLInputElement>("tbody .pick input:checked")].map((box) => box.value));
    for (const id of this.#ids) {
      if (here.has(id)) continue;
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = "ref";
      field.value = id;
      field.dataset["far"] = "";
      form.append(field);
    }
  }
}
