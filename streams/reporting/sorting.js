"use strict";
for (const button of document.querySelectorAll("th > button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement;
    const table = header.closest("table");
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentElement.children) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = header.cellIndex;
    const words = new Intl.Collator("en", { numeric: true });
    const key = (row) => (row.cells[column].hasAttribute("data-key") ? Number(row.cells[column].dataset.key) : null);
    const empty = (row) => row.cells[column].className === "none";
    const order = (one, other) => {
      if (empty(one) || empty(other)) return Number(empty(one)) - Number(empty(other));
      const [first, second] = [key(one), key(other)];
      const compared =
        first !== null && second !== null
          ? first - second
          : words.compare(one.cells[column].textContent, other.cells[column].textContent);
      return down ? -compared : compared;
    };
    const body = table.tBodies[0];
    body.append(...Array.from(body.rows).sort(order));
  });
}
