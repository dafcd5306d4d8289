// Loaded in the head, before anything is drawn, so that a chosen theme never flashes. A classic script: no imports.
(() => {
  const root = document.documentElement;
  root.dataset["script"] = "on";
  try {
    const chosen = localStorage.getItem("everloop-theme");
    if (chosen === "light" || chosen === "dark") root.dataset["theme"] = chosen;
  } catch {
    // Storage may be forbidden; the system's theme serves then.
  }
})();
