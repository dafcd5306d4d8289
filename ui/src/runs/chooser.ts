// The panel of columns: a search over every key that runs have, and boxes that keep the order of what is shown already.
import { goTo } from "./going";

interface KeyCount {
  key: string;
  runs: number;
}
type Keys = Record<"params" | "metrics" | "tags", KeyCount[]>;

const GROUPS = { params: "param", metrics: "metric", tags: "tag" } as const;
const TITLES = { params: "Parameters", metrics: "Metrics", tags: "Tags" } as const;
const WAIT = 150;

export function enableChooser(panel: HTMLElement, shown: string[]): void {
  const field = panel.querySelector<HTMLInputElement>("input[type=search]");
  const said = panel.querySelector<HTMLElement>(".found");
  const form = document.querySelector<HTMLFormElement>("form#columns");
  let waiting: number | undefined;

  field?.addEventListener("input", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(() => void find(field.value.trim()), WAIT);
  });
  field?.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = new Set(boxes(panel).flatMap((box) => (box.checked ? [box.value] : [])));
    const address = new URL(location.href);
    // An order that somebody gave the columns is kept; else they stand as the panel lists them.
    const kept = address.searchParams.has("column") ? shown.filter((id) => chosen.has(id)) : [];
    address.searchParams.delete("column");
    for (const id of [...kept, ...[...chosen].filter((each) => !kept.includes(each))]) {
      address.searchParams.append("column", id);
    }
    void goTo(address);
  });
  panel.closest("details")?.addEventListener("toggle", (event) => {
    if ((event.target as HTMLDetailsElement).open) field?.focus();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    panel.closest("details")?.removeAttribute("open");
    panel.closest("details")?.querySelector("summary")?.focus();
  });

  async function find(text: string): Promise<void> {
    const lower = text.toLowerCase();
    for (const label of panel.querySelectorAll("label")) {
      const box = label.querySelector("input");
      label.hidden = lower !== "" && !(box?.value.toLowerCase().includes(lower) ?? false);
    }
    showGroups();
    if (said !== null) said.hidden = true;
    if (lower === "") return;
    const address = new URL(panel.dataset["keys"] ?? "", location.href);
    address.searchParams.set("containing", text);
    const response = await fetch(address);
    if (!response.ok || field?.value.trim() !== text) return;
    const keys = (await response.json()) as Keys;
    let count = 0;
    for (const kind of ["params", "metrics", "tags"] as const) {
      for (const { key } of keys[kind]) {
        count += 1;
        addBox(kind, `${kind}.${key}`, key);
      }
    }
    showGroups();
    if (said !== null) {
      said.hidden = count > 0;
      said.textContent = "No parameter, metric or tag has this in its name.";
    }
  }

  /** A title stands only above something. */
  function showGroups(): void {
    for (const group of panel.querySelectorAll<HTMLElement>("fieldset")) {
      group.hidden = group.querySelector("label:not([hidden])") === null;
    }
  }

  function addBox(kind: keyof Keys, id: string, label: string): void {
    const known = boxes(panel).find((box) => box.value === id);
    if (known !== undefined) {
      known.closest("label")?.removeAttribute("hidden");
      return;
    }
    let group = panel.querySelector(`fieldset[data-group="${GROUPS[kind]}"]`);
    if (group === null) {
      group = document.createElement("fieldset");
      (group as HTMLElement).dataset["group"] = GROUPS[kind];
      const legend = document.createElement("legend");
      legend.textContent = TITLES[kind];
      group.append(legend);
      said?.before(group);
    }
    const box = document.createElement("input");
    box.type = "checkbox";
    box.name = "column";
    box.value = id;
    box.setAttribute("form", "columns");
    const line = document.createElement("label");
    line.append(box, ` ${label.length > 32 ? `${label.slice(0, 21)}…${label.slice(-10)}` : label}`);
    line.title = label;
    group.append(line);
  }
}

function boxes(panel: HTMLElement): HTMLInputElement[] {
  return [...panel.querySelectorAll<HTMLInputElement>("input[type=checkbox]")];
}
