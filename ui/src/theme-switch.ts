/** The button in the bar: light, dark; the choice of this reader is kept in this browser. */
export function enableThemeSwitch(): void {
  const root = document.documentElement;
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element) || event.target.closest("[data-theme-switch]") === null) return;
    const dark = root.dataset["theme"]
      ? root.dataset["theme"] === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = dark ? "light" : "dark";
    root.dataset["theme"] = theme;
    try {
      localStorage.setItem("everloop-theme", theme);
    } catch {
      // The choice holds for this page then.
    }
    announceTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announceTheme);
}

/** Plots take their colours from the theme and listen for this. */
function announceTheme(): void {
  document.dispatchEvent(new CustomEvent("everloop:theme"));
}
