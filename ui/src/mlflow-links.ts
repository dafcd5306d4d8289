// MLflow's client prints addresses of MLflow's own pages, which stand behind a `#` that no server sees. Ours for them:

const PAGES: [RegExp, (found: string[]) => string][] = [
  [/^#\/experiments\/\d+\/runs\/([0-9a-f]{32})/, ([run]) => `/runs/${run}`],
  [/^#\/experiments\/(\d+)/, ([experiment]) => `/runs?experiment=${experiment}`],
  [/^#\/models\/([^/?]+)\/versions\/(\d+)/, ([name, version]) => `/models/${name}@v${version}`],
  [/^#\/models\/([^/?]+)/, ([name]) => `/models/${name}`],
];

/** The page of ours that an address of MLflow's pages means, or nothing. */
export function pageFor(hash: string): string | undefined {
  for (const [form, page] of PAGES) {
    const found = form.exec(hash);
    if (found !== null) return page(found.slice(1));
  }
  return undefined;
}

/** Goes on to the page that is meant, if the start page was opened with an address of MLflow's. */
export function followMlflowLinks(): void {
  if (location.pathname !== "/") return;
  const page = pageFor(location.hash);
  if (page !== undefined) location.replace(page);
}
