(() => {
  "use strict";
  // On paper everything is open, and afterwards as it was.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    for (const it of closed) it.open = true;
  });
  addEventListener("afterprint", () => { for (const it of closed) it.open = false; });

  const table = document.getElementById("rows");
  if (!table) return;
  const form = document.getElementById("filters");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row, index) => {
    const cells = row.cells;
    const name = cells[2].querySelector("b");
    return {
      row, index,
      text: row.textContent.toLowerCase(),
      severity: cells[3].textContent,
      cause: cells[4].querySelector("b").textContent,
      origin: cells[4].querySelector("i").textContent,
      process: name ? name.textContent : "",
      keys: null,
    };
  });
  const rank = { fault: 0, refused: 1, noise: 2 };
  const fields = form.elements;
  const selects = ["severity", "cause", "origin", "process"];
  const number = new Intl.NumberFormat("en");

  function filter() {
    const words = fields.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const it of rows) {
      const wanted = selects.every((name) => !fields[name].value || fields[name].value === it[name])
        && words.every((word) => it.text.includes(word));
      it.row.hidden = !wanted;
      if (wanted) shown += 1;
    }
    fields.shown.value = number.format(shown) + " of " + number.format(rows.length) + " records";
  }

  function key(it, column) {
    if (column === 0) return it.index;
    if (column === 3) return rank[it.severity] ?? 3;
    if (column === 5) return parseFloat(it.row.cells[5].dataset.v ?? "-1");
    return it.row.cells[column].textContent;
  }

  function sort(column, down) {
    const sign = down ? -1 : 1;
    const keyed = rows.map((it) => [key(it, column), it]);
    keyed.sort(([a, one], [b, other]) => (a < b ? -sign : a > b ? sign : one.index - other.index));
    const all = document.createDocumentFragment();
    for (const [, it] of keyed) all.append(it.row);
    body.append(all);
  }

  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", column === 0 ? "ascending" : "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(column, down);
    });
  });

  let wait = 0;
  form.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(filter, 80); });
  form.addEventListener("reset", () => setTimeout(filter, 0));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const link of document.querySelectorAll("a[data-cause]")) {
    link.addEventListener("click", () => {
      form.reset();
      for (const name of ["severity", "cause", "process"]) {
        const value = link.dataset[name];
        const known = Array.from(fields[name].options).some((option) => option.value === value);
        fields[name].value = known ? value : "";
      }
      filter();
    });
  }
  form.hidden = false;
  filter();
})();
