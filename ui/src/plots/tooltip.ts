// Tooltips are built as elements, not as HTML text: names from users stay text, and no inline style is needed (the
// page's content security policy would refuse it).

export interface Entry {
  colour?: string;
  name: string;
  value: string;
  range?: string;
}

export function tip(head: string, entries: Entry[]): HTMLElement {
  const box = cell("plot-tip", "");
  if (head !== "") box.append(cell("at", head));
  for (const entry of entries) {
    const line = cell("entry", "");
    const swatch = cell("swatch", "");
    if (entry.colour) swatch.style.background = entry.colour;
    const value = cell("value", entry.value);
    if (entry.range) value.append(" ", cell("range", entry.range, "span"));
    line.append(swatch, cell("what", entry.name), value);
    box.append(line);
  }
  return box;
}

function cell(className: string, text: string, tag: "div" | "span" = "div"): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
