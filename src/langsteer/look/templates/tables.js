// Sort a table by the heading that is clicked: one way, the other way, and as it was.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const value = (row, column) => {
    const cell = row.cells[column], key = cell.dataset.sort;
    return key !== undefined && key !== "" && !isNaN(key) ? Number(key) : cell.textContent.trim();
  };
  const empty = (x) => x === "" || x === "–" || x === "no clear gap";
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of all("table")) {
    const heads = all("thead th", table), body = table.tBodies[0], original = [...body.rows];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const now = head.getAttribute("aria-sort");
      const next = now === null ? first : now === first ? second : null;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const rows = [...original];
      if (next) {
        head.setAttribute("aria-sort", next);
        rows.sort((a, b) => {
          const x = value(a, column), y = value(b, column);
          if (empty(x) || empty(y)) return empty(x) - empty(y);
          return next === "ascending" ? compare(x, y) : compare(y, x);
        });
      }
      body.append(...rows);
    }));
  }
})();
