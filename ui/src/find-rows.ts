/** `<input data-find-rows="list">` leaves only those lines of the list that contain what is typed. */
export function enableFindingRows(): void {
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLInputElement) || field.dataset["findRows"] === undefined) return;
    const wanted = field.value.trim().toLowerCase();
    for (const line of document.querySelectorAll<HTMLElement>(`#${field.dataset["findRows"]} :is(tbody > tr, .kv > div)`)) {
      line.hidden = !(line.firstElementChild?.textContent?.toLowerCase().includes(wanted) ?? true);
    }
  });
}
