"use strict";
// Each table gets a button in every column's head, which sorts, and, when it is long, a field that filters.
for (const box of document.querySelectorAll(".table")) {
  const heads = [...box.querySelectorAll("th")];
  const body = box.querySelector("tbody");
  const rows = [...body.rows];

  const compare = (column, isNumber, sign) => (a, b) => {
    const [left, right] = [a, b].map((row) => row.cells[column].textContent);
    if (!isNumber) return sign * left.localeCompare(right, "en", { numeric: true });
    const [x, y] = [left, right].map(parseFloat);
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y); // what is not defined comes last
    return sign * (x - y);
  };

  heads.forEach((head, column) => {
    const isNumber = head.classList.contains("number");
    const button = document.createElement("button");
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      const first = isNumber ? "descending" : "ascending";
      const other = isNumber ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      body.append(...rows.sort(compare(column, isNumber, order === "ascending" ? 1 : -1)));
    });
    head.append(button);
    if (isNumber) rows.forEach((row) => row.cells[column].classList.add("number"));
  });

  if (rows.length > 8) {
    const field = document.createElement("input");
    const count = document.createElement("span");
    field.type = "search";
    field.placeholder = "Filter rows by words";
    field.setAttribute("aria-label", field.placeholder);
    count.className = "count";
    const show = () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    };
    field.addEventListener("input", show);
    box.querySelector(".scroll").before(field, count);
    show();
  }
}
