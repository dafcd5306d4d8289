let hiding: number | undefined;

/** One short sentence at the corner, read aloud by screen readers. */
export function toast(sentence: string): void {
  const place = document.getElementById("toast");
  if (place === null) return;
  place.textContent = sentence;
  place.classList.add("shown");
  window.clearTimeout(hiding);
  hiding = window.setTimeout(() => place.classList.remove("shown"), 1600);
}
