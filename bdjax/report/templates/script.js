"use strict";
const zoo = document.getElementById("zoo");
const body = zoo.tBodies[0];
const heads = [...zoo.tHead.rows[0].cells];
const search = document.getElementById("search");
const role = document.getElementById("role");
const roleColumn = heads.findIndex((head) => head.textContent.trim() === "role");
const rows = [...body.rows].map((row) => ({
  row,
  text: [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" "),
  keys: [...row.cells].map((cell) => cell.dataset.key ?? cell.textContent),
}));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { row, text } of rows) {
    const kept = words.every((word) => text.includes(word)) &&
      (!role.value || row.cells[roleColumn].textContent === role.value);
    row.hidden = !kept;
    shown += kept;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length} models`;
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === "") return 1;  // what is unknown comes last, whichever way
  if (b === "") return -1;
  const x = Number(a), y = Number(b);
  if (Number.isNaN(x) || Number.isNaN(y)) return a.localeCompare(b, "en", { numeric: true });
  return x - y;
}

function sortBy(column) {
  const head = heads[column];
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of heads) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  rows.sort((p, q) => {
    const [a, b] = [p.keys[column], q.keys[column]];
    return compare(a, b) * (down && a !== "" && b !== "" ? -1 : 1);
  });
  body.append(...rows.map(({ row }) => row));
}

heads.forEach((head, column) => head.addEventListener("click", () => sortBy(column)));
search.addEventListener("input", filter);
role.addEventListener("change", filter);
if ([...role.options].some((option) => option.value === "target")) role.value = "target";
filter();
