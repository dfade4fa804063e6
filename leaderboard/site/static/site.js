// Sorting, filtering and paging of a board's rows, and opening a row. Data come from scripts: files may not fetch.
"use strict";
window.clsuite = (() => {
  const AT_ONCE = 100;
  const root = document.documentElement.dataset.root;
  const known = new Map(); // details that are loaded, by their key
  const waiting = new Map();
  const open = new Map(); // the line below each row that is open

  function detail(key, data) {
    known.set(key, data);
    for (const show of waiting.get(key) || []) show(data);
    waiting.delete(key);
  }

  function load(key, show) {
    if (known.has(key)) return show(known.get(key));
    if (waiting.has(key)) return waiting.get(key).push(show);
    waiting.set(key, [show]);
    const script = document.createElement("script");
    script.src = `${root}details/${key}.js`;
    script.onerror = () => {
      for (const one of waiting.get(key) || []) one(null);
      waiting.delete(key);
    };
    document.head.append(script);
  }

  function toggle(row) {
    const button = row.querySelector("button.open");
    const opened = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!opened));
    if (opened) {
      open.get(row).remove();
      return open.delete(row);
    }
    const line = document.createElement("tr");
    line.className = "detail";
    const cell = line.insertCell();
    cell.colSpan = row.cells.length;
    const place = document.createElement("div");
    place.className = "detail-body";
    cell.append(place);
    open.set(row, line);
    row.after(line);
    load(row.dataset.detail, (data) => place.replaceChildren(...clsuiteDetails(data, root, row.dataset.detail)));
  }

  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-detail]");
    const button = event.target.closest("button.open");
    if (!row || (!button && (event.target.closest("a, button") || String(getSelection())))) return;
    toggle(row);
  });

  function table(data) {
    const body = document.querySelector("#board tbody");
    const form = document.getElementById("filters");
    const heads = [...document.querySelectorAll("#board thead th")];
    const total = data.ids.length;
    const rows = [...body.rows];
    const template = document.createElement("template");
    let order = data.ids.map((_, index) => index);
    let shown = order;
    let page = 0;

    function rowAt(index) {
      if (!rows[index]) {
        template.innerHTML = data.rest[index - AT_ONCE]; // escaped when it was made
        rows[index] = template.content.querySelector("tr");
      }
      return rows[index];
    }

    function draw() {
      const rows = shown.slice(page * AT_ONCE, (page + 1) * AT_ONCE).map(rowAt);
      body.replaceChildren(...rows.flatMap((row) => (open.has(row) ? [row, open.get(row)] : [row])));
      const pages = Math.max(1, Math.ceil(shown.length / AT_ONCE));
      const all = `${total} methods`;
      document.getElementById("count").textContent = shown.length === total ? all : `${shown.length} of ${all}`;
      document.getElementById("page").textContent = `${page + 1} of ${pages}`;
      document.getElementById("pages").hidden = pages < 2;
      for (const button of document.querySelectorAll("#pages button")) {
        const next = page + Number(button.dataset.step);
        button.disabled = next < 0 || next >= pages;
      }
    }

    function matches(index, want) {
      const pet = data.pet[index];
      const dated = (year) => year >= Number(want.from) && (!want.to || year <= Number(want.to));
      const flag = (value, chosen) => !chosen || value === (chosen === "yes");
      return (
        want.words.toLowerCase().split(/\s+/).every((word) => data.words[index].includes(word)) &&
        flag(data.exemplars[index], want.exemplars) &&
        flag(data.task_id[index], want.task_id) &&
        (!want.backbone || data.backbone[index] === want.backbone) &&
        (!want.pet || (want.pet === "-" ? !pet.length : pet.includes(want.pet.slice(1)))) &&
        ((!want.from && !want.to) || data.years[index].some(dated))
      );
    }

    function hold() {
      const widths = heads.map((head) => head.getBoundingClientRect().width);
      heads.forEach((head, index) => (head.style.minWidth = `${widths[index]}px`));
    }

    function letGo() {
      for (const head of heads) head.style.minWidth = "";
    }

    function filter() {
      const want = Object.fromEntries(new FormData(form));
      const all = document.getElementById("board").classList;
      if (all.contains("all") === Boolean(want.extra)) hold(); // so that columns do not jump when wide rows go
      else letGo();
      all.toggle("all", Boolean(want.extra));
      shown = order.filter((index) => matches(index, want));
      page = 0;
      draw();
    }

    function sort(button) {
      const head = button.closest("th");
      const first = button.dataset.first === "up" ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const way = head.getAttribute("aria-sort") === first ? other : first;
      for (const th of head.parentElement.cells) th.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", way);
      const keys = data.keys[button.dataset.key];
      const sign = way === "ascending" ? 1 : -1;
      order.sort((a, b) => {
        const [x, y] = [keys[a], keys[b]];
        if (x === y) return a - b;
        if (x === null) return 1; // what is not defined comes last, either way
        if (y === null) return -1;
        return x < y ? -sign : sign;
      });
      filter();
    }

    function reveal(id) {
      const index = data.ids.indexOf(id);
      if (index < 0) return;
      if (!shown.includes(index)) {
        form.reset();
        filter();
      }
      page = Math.floor(shown.indexOf(index) / AT_ONCE);
      if (!body.contains(rowAt(index))) draw();
      const button = rowAt(index).querySelector("button.open");
      if (button.getAttribute("aria-expanded") === "false") toggle(rowAt(index));
      button.focus({ preventScroll: true });
      rowAt(index).scrollIntoView({ block: "center" });
    }

    form.addEventListener("input", filter);
    addEventListener("resize", letGo);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.querySelector("[type=reset]").addEventListener("click", (event) => {
      event.preventDefault();
      form.reset();
      filter();
      letGo();
    });
    document.querySelector("#board thead").addEventListener("click", (event) => {
      const button = event.target.closest("button.sort");
      if (button) sort(button);
    });
    document.getElementById("pages").addEventListener("click", (event) => {
      const step = event.target.dataset.step;
      if (!step) return;
      page += Number(step);
      draw();
      document.getElementById("board").scrollIntoView();
    });
    document.addEventListener("click", (event) => {
      const point = event.target.closest("a.point");
      if (point && point.getAttribute("href") === location.hash) reveal(location.hash.slice(1)); // it does not change
    });
    addEventListener("hashchange", () => reveal(location.hash.slice(1)));
    filter();
    if (location.hash) reveal(location.hash.slice(1));
  }

  return { detail, table };
})();
