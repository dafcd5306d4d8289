/** Colours and font of the page, as the canvas needs them: resolved for the theme that is on. */
export interface Look {
  font: string;
  text: string;
  muted: string;
  line: string;
  strong: string;
  surface: string;
  accent: string;
  good: string;
  warn: string;
  bad: string;
  plot: string[];
  heat: string[];
  /** From far below zero to far above it, where zero is the middle. */
  diverging: string[];
}

export function currentLook(): Look {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  // light-dark() is resolved by the browser only in a real property, not in the custom one.
  const colour = (token: string): string => {
    probe.style.color = `var(--${token})`;
    return getComputedStyle(probe).color;
  };
  const look: Look = {
    // With double quotes in it, the style of a text would end the attribute it stands in when a plot is saved as SVG.
    font: getComputedStyle(document.body).fontFamily.replaceAll('"', "'"),
    text: colour("text"),
    muted: colour("muted"),
    line: colour("line"),
    strong: colour("line-strong"),
    surface: colour("surface"),
    accent: colour("accent"),
    good: colour("good"),
    warn: colour("warn"),
    bad: colour("bad"),
    plot: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => colour(`plot-${n}`)),
    heat: [0, 1, 2, 3, 4].map((n) => colour(`heat-${n}`)),
    diverging: ["cold-4", "cold-3", "cold-2", "cold-1", "heat-0", "heat-1", "heat-2", "heat-3", "heat-4"].map(colour),
  };
  probe.remove();
  return look;
}

const places = new Map<string, number>();

/** The colour of a run, version or slice: given out in order of appearance, kept on the whole page. */
export function colourOf(key: string, look: Look): string {
  let place = places.get(key);
  if (place === undefined) {
    place = places.size;
    places.set(key, place);
  }
  return look.plot[place % look.plot.length] ?? look.accent;
}

/** The same colour, see-through. Colours come from `getComputedStyle`, as rgb(r, g, b). */
export function faded(colour: string, alpha: number): string {
  const parts = colour.match(/[\d.]+/g) ?? ["0", "0", "0"];
  return `rgba(${parts.slice(0, 3).join(", ")}, ${alpha})`;
}

/** The colour at a place from 0 to 1 of a scale of colours. */
export function between(scale: string[], place: number): string {
  const at = Math.min(1, Math.max(0, place)) * (scale.length - 1);
  const parts = (index: number): number[] => (scale[index]?.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  const [low, high] = [parts(Math.floor(at)), parts(Math.ceil(at))];
  const share = at - Math.floor(at);
  return `rgb(${low.map((value, index) => Math.round(value + share * ((high[index] ?? value) - value))).join(", ")})`;
}
