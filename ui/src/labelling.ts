// Labelling by keys: 1 to 9 choose, q goes on to the next question, Enter submits, s skips, u takes back; boxes are drawn on the
// picture and spans marked in the text. The rows of numbers in the form are what is sent and what is true: all that is drawn is
// drawn from them.

const NAMESPACE = "http://www.w3.org/2000/svg";
const STEP = 0.5;
/** Percent of the picture below which a drag was a click. */
const SMALLEST = 0.4;

type Part = "x" | "y" | "width" | "height";
const PARTS: readonly Part[] = ["x", "y", "width", "height"];
type Box = Record<Part, number>;

const begun = new WeakMap<Element, number>();
let listening = false;

export function enableLabelling(part: ParentNode): void {
  for (const place of part.querySelectorAll<HTMLElement>("[data-labelling]")) {
    if (begun.has(place)) continue;
    begun.set(place, performance.now());
    place.dataset["ready"] = "";
    for (const picture of place.querySelectorAll<HTMLElement>("[data-draw]")) drawOn(place, picture);
    for (const question of place.querySelectorAll<HTMLElement>("[data-question=spans]")) markIn(place, question);
    place.addEventListener("click", (event) => clicked(place, event));
    const form = place.querySelector<HTMLFormElement>("form[data-answer]");
    // Before htmx reads the fields, which it does when the form is submitted.
    form?.addEventListener("submit", () => noteTime(place, form), { capture: true });
  }
  if (!listening) document.addEventListener("keydown", pressed);
  listening = true;
}

function noteTime(place: HTMLElement, form: HTMLFormElement): void {
  const field = form.querySelector<HTMLInputElement>("[data-seconds]");
  if (field !== null) field.value = ((performance.now() - (begun.get(place) ?? 0)) / 1000).toFixed(1);
}

function pressed(event: KeyboardEvent): void {
  const place = document.querySelector<HTMLElement>("[data-labelling]");
  const target = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open], [popover]:popover-open") !== null) return;
  if (target instanceof HTMLElement && target.matches("textarea, select, input:not([type=radio], [type=checkbox])")) return;
  if (event.key === "u" && submit(document, "form[data-undo]")) return event.preventDefault();
  if (place === null) return;
  const link = place.querySelector<HTMLAnchorElement>("a[data-next]");
  if (event.key === "s" && submit(place, "form[data-skip]")) event.preventDefault();
  else if (event.key === "q" || event.key === "Q") {
    if (turn(place, event.key === "q" ? 1 : -1)) event.preventDefault();
  } else if (event.key === "n") place.dispatchEvent(new CustomEvent("everloop:new-box"));
  else if (event.key === "a") place.querySelector<HTMLButtonElement>("button[data-accept]")?.click();
  else if (event.key === "j" && link !== null) link.click();
  else if (event.key === "Enter" && !(target instanceof Element && target.closest("a, button, summary") !== null)) {
    if (submit(place, "form[data-answer]")) event.preventDefault();
  } else if (/^[1-9]$/.test(event.key) && choose(place, Number(event.key))) event.preventDefault();
}

function submit(within: ParentNode, which: string): boolean {
  const form = within.querySelector<HTMLFormElement>(which);
  const button = form?.querySelector<HTMLButtonElement>("button[type=submit]");
  if (form === null || form === undefined || button === null || button?.disabled) return false;
  form.requestSubmit(button);
  return true;
}

/** What a number key may press in a question. */
const CHOICES = ".choice input, [data-pen]";

function withChoices(place: HTMLElement): HTMLElement[] {
  return [...place.querySelectorAll<HTMLElement>(".question")].filter((each) => each.querySelector(CHOICES) !== null);
}

/** The question that number keys answer: the one with the focus, else the first that waits for one choice, else the first. */
function asked(place: HTMLElement): HTMLElement | null {
  const questions = withChoices(place);
  const open = questions.find((each) => each.contains(document.activeElement));
  const waiting = questions.find((each) => each.querySelector("input[type=radio]") !== null && each.querySelector("input:checked") === null);
  return open ?? waiting ?? questions[0] ?? null;
}

/** Give the focus, and so the number keys, to the next question or the one before; after the last one comes the first. */
function turn(place: HTMLElement, by: 1 | -1): boolean {
  const questions = withChoices(place);
  const at = questions.findIndex((each) => each.contains(document.activeElement));
  const next = questions[at < 0 ? (by > 0 ? 0 : questions.length - 1) : (at + by + questions.length) % questions.length];
  const choice = next?.querySelector<HTMLElement>(".choice input:checked") ?? next?.querySelector<HTMLElement>(CHOICES);
  choice?.focus();
  return choice !== null && choice !== undefined;
}

function choose(place: HTMLElement, number: number): boolean {
  const question = asked(place);
  const choice = question?.querySelectorAll<HTMLElement>(CHOICES)[number - 1];
  if (choice === undefined) return false;
  choice.click();
  if (choice instanceof HTMLInputElement) {
    choice.focus();
    // One choice answers a question, so the keys go on to the next; of several, more may follow. The last one can be corrected.
    if (choice.type === "radio" && question !== withChoices(place).at(-1)) turn(place, 1);
  }
  return true;
}

function clicked(place: HTMLElement, event: Event): void {
  if (!(event.target instanceof Element)) return;
  const pen = event.target.closest<HTMLElement>("[data-pen]");
  if (pen !== null) {
    for (const each of pen.parentElement?.querySelectorAll("[data-pen]") ?? []) each.setAttribute("aria-pressed", String(each === pen));
    pen.dispatchEvent(new CustomEvent("everloop:pen", { bubbles: true }));
  }
  const remove = event.target.closest("[data-remove]");
  if (remove !== null) {
    const row = remove.closest("[data-region]");
    const body = row?.parentElement;
    row?.remove();
    body?.dispatchEvent(new Event("input", { bubbles: true }));
    place.querySelector<HTMLElement>("[data-pen]")?.focus();
  }
}

function penOf(question: HTMLElement): HTMLElement | null {
  return question.querySelector<HTMLElement>("[data-pen][aria-pressed=true]") ?? question.querySelector<HTMLElement>("[data-pen]");
}

function rowsOf(question: HTMLElement): HTMLElement[] {
  return [...question.querySelectorAll<HTMLElement>("tbody[data-regions] > [data-region]")];
}

function field(row: HTMLElement, part: string): HTMLInputElement | null {
  return row.querySelector<HTMLInputElement>(`input[name$=".${part}"]`);
}

function addRow(question: HTMLElement, label: string, values: Record<string, number>): HTMLElement | null {
  const template = question.querySelector<HTMLTemplateElement>("template[data-row]");
  const body = question.querySelector<HTMLElement>("tbody[data-regions]");
  const row = template?.content.firstElementChild?.cloneNode(true);
  if (!(row instanceof HTMLElement) || body === null) return null;
  const select = row.querySelector("select");
  if (select !== null) select.value = label;
  for (const [part, value] of Object.entries(values)) {
    const input = field(row, part);
    if (input !== null) input.value = written(value);
  }
  body.append(row);
  return row;
}

function written(value: number): string {
  return String(Math.round(value * 1000) / 1000);
}

// Boxes on a picture

function readBox(row: HTMLElement): Box {
  const [x = 0, y = 0, width = 0, height = 0] = PARTS.map((part) => Number(field(row, part)?.value ?? 0));
  return { x, y, width, height };
}

function writeBox(row: HTMLElement, box: Box): void {
  const width = Math.min(Math.max(box.width, STEP), 100);
  const height = Math.min(Math.max(box.height, STEP), 100);
  const kept: Box = {
    x: Math.min(Math.max(box.x, 0), 100 - width),
    y: Math.min(Math.max(box.y, 0), 100 - height),
    width,
    height,
  };
  for (const part of PARTS) {
    const input = field(row, part);
    if (input !== null) input.value = written(kept[part]);
  }
}

function drawOn(place: HTMLElement, picture: HTMLElement): void {
  const question = place.querySelector<HTMLElement>(`#${CSS.escape(picture.dataset["picture"] ?? "")}`);
  const svg = picture.querySelector("svg");
  if (question === null || svg === null) return;
  const hues = new Map([...question.querySelectorAll<HTMLElement>("[data-pen]")].map((pen) => [pen.dataset["pen"], pen.dataset["hue"]]));
  const shapes = new Map<HTMLElement, SVGRectElement>();

  function show(): void {
    const rows = rowsOf(question!);
    for (const [row, shape] of shapes) {
      if (rows.includes(row)) continue;
      shape.remove();
      shapes.delete(row);
    }
    for (const [at, row] of rows.entries()) {
      let shape = shapes.get(row);
      if (shape === undefined) {
        shape = document.createElementNS(NAMESPACE, "rect");
        shape.setAttribute("tabindex", "0");
        shape.setAttribute("role", "button");
        shapes.set(row, shape);
        svg!.append(shape);
      }
      const box = readBox(row);
      const label = row.querySelector("select")?.value ?? "";
      shape.setAttribute("class", `box hue-${hues.get(label) ?? "8"}`);
      shape.setAttribute("aria-label", `${at + 1}: ${label}, ${written(box.x)} % from the left, ${written(box.y)} % from the top`);
      for (const part of PARTS) shape.setAttribute(part, String(box[part]));
      const turn = Number(field(row, "rotation")?.value ?? 0);
      if (turn !== 0) shape.setAttribute("transform", `rotate(${turn} ${box.x} ${box.y})`);
    }
  }

  function rowOf(shape: EventTarget | null): HTMLElement | undefined {
    return [...shapes].find(([, each]) => each === shape)?.[0];
  }

  function at(event: PointerEvent): { x: number; y: number } {
    const frame = svg!.getBoundingClientRect();
    const within = (value: number): number => Math.min(Math.max(value, 0), 100);
    return {
      x: within((100 * (event.clientX - frame.left)) / frame.width),
      y: within((100 * (event.clientY - frame.top)) / frame.height),
    };
  }

  /** Near which corner of a box the pointer is, as the signs of its sides; undefined in the middle. */
  function cornerAt(box: Box, point: { x: number; y: number }): { right: boolean; low: boolean } | undefined {
    const frame = svg!.getBoundingClientRect();
    const [wide, high] = [(900 / frame.width), (900 / frame.height)];
    const right = Math.abs(point.x - box.x - box.width) < wide;
    const low = Math.abs(point.y - box.y - box.height) < high;
    const left = Math.abs(point.x - box.x) < wide;
    const top = Math.abs(point.y - box.y) < high;
    return (right || left) && (low || top) ? { right, low } : undefined;
  }

  function drag(event: PointerEvent, move: (point: { x: number; y: number }) => void, end: () => void): void {
    const pointer = event.pointerId;
    svg!.setPointerCapture(pointer);
    const moved = (next: PointerEvent): void => {
      if (next.pointerId === pointer) move(at(next));
    };
    const ended = (): void => {
      svg!.removeEventListener("pointermove", moved);
      svg!.removeEventListener("pointerup", ended);
      svg!.removeEventListener("pointercancel", ended);
      end();
    };
    svg!.addEventListener("pointermove", moved);
    svg!.addEventListener("pointerup", ended);
    svg!.addEventListener("pointercancel", ended);
  }

  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    const from = at(event);
    const held = rowOf(event.target);
    if (held !== undefined) {
      shapes.get(held)?.focus();
      const box = readBox(held);
      const corner = cornerAt(box, from);
      const fixed = { x: corner?.right ? box.x : box.x + box.width, y: corner?.low ? box.y : box.y + box.height };
      const move = (point: { x: number; y: number }): void => {
        writeBox(held, corner === undefined ? { ...box, x: box.x + point.x - from.x, y: box.y + point.y - from.y } : between(fixed, point));
        show();
      };
      drag(event, move, () => undefined);
      return;
    }
    let row: HTMLElement | null = null;
    const draw = (point: { x: number; y: number }): void => {
      const box = between(from, point);
      if (row === null && Math.max(box.width, box.height) < SMALLEST) return;
      row ??= addRow(question, penOf(question)?.dataset["pen"] ?? "", {});
      if (row !== null) writeBox(row, box);
      show();
    };
    drag(event, draw, () => {
      if (row !== null) shapes.get(row)?.focus();
    });
  });

  svg.addEventListener("keydown", (event) => {
    const row = rowOf(event.target);
    if (row === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const box = readBox(row);
    const by: Record<string, [number, number]> = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    const step = by[event.key];
    if (step !== undefined) {
      const [x, y] = step;
      const grown = { ...box, width: Math.min(box.width + x, 100 - box.x), height: Math.min(box.height + y, 100 - box.y) };
      writeBox(row, event.shiftKey ? grown : { ...box, x: box.x + x, y: box.y + y });
    } else if (event.key === "Delete" || event.key === "Backspace") {
      row.remove();
      show();
      const left = [...shapes.values()].at(-1) ?? question.querySelector<HTMLElement>("[data-pen]");
      left?.focus();
    } else if (/^[1-9]$/.test(event.key)) {
      const label = question.querySelectorAll<HTMLElement>("[data-pen]")[Number(event.key) - 1]?.dataset["pen"];
      const select = row.querySelector("select");
      if (label !== undefined && select !== null) select.value = label;
    } else return;
    event.preventDefault();
    event.stopPropagation();
    show();
  });

  place.addEventListener("everloop:new-box", () => {
    const row = addRow(question, penOf(question)?.dataset["pen"] ?? "", { x: 40, y: 40, width: 20, height: 20 });
    show();
    if (row !== null) shapes.get(row)?.focus();
  });
  question.addEventListener("input", show);
  svg.replaceChildren();
  show();
}

function between(first: { x: number; y: number }, second: { x: number; y: number }): Box {
  return {
    x: Math.min(first.x, second.x),
    y: Math.min(first.y, second.y),
    width: Math.abs(first.x - second.x),
    height: Math.abs(first.y - second.y),
  };
}

// Spans in a text

/** Characters as the server counts them: those outside the basic plane are one, not two. */
function counted(text: string): number {
  return [...text].length;
}

function markIn(place: HTMLElement, question: HTMLElement): void {
  const column = question.dataset["on"] ?? "";
  const text = place.querySelector<HTMLElement>(`[data-text="${CSS.escape(column)}"]`);
  const node = text?.firstChild;
  if (text === null || !(node instanceof Text)) return;
  const whole = node.data;

  function show(): void {
    if (!("highlights" in CSS)) return;
    const found = new Map<string, Range[]>();
    const places = [...whole];
    const offset = (at: number): number => places.slice(0, at).join("").length;
    for (const row of rowsOf(question)) {
      const [start, end] = [Number(field(row, "start")?.value), Number(field(row, "end")?.value)];
      if (!(start >= 0 && end > start && end <= places.length)) continue;
      const label = row.querySelector("select")?.value ?? "";
      const hue = question.querySelector<HTMLElement>(`[data-pen="${CSS.escape(label)}"]`)?.dataset["hue"] ?? "8";
      const range = document.createRange();
      range.setStart(node!, offset(start));
      range.setEnd(node!, offset(end));
      found.set(hue, [...(found.get(hue) ?? []), range]);
    }
    for (let hue = 1; hue <= 8; hue++) CSS.highlights.set(`hue-${hue}`, new Highlight(...(found.get(String(hue)) ?? [])));
  }

  text.addEventListener("mouseup", () => {
    const selection = getSelection();
    if (selection === null || selection.isCollapsed || selection.rangeCount === 0) return;
    const range = selection.getRangeAt(0);
    if (range.startContainer !== node || range.endContainer !== node) return;
    const taken = whole.slice(range.startOffset, range.endOffset);
    const start = counted(whole.slice(0, range.startOffset)) + counted(taken) - counted(taken.trimStart());
    const end = start + counted(taken.trim());
    if (end > start) addRow(question, penOf(question)?.dataset["pen"] ?? "", { start, end });
    selection.removeAllRanges();
    show();
  });
  question.addEventListener("input", show);
  show();
}
