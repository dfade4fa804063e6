// Light, dark, or as the system has it; kept where the browser lets a page keep something.
"use strict";
(() => {
  const place = document.documentElement;
  const read = () => {
    try {
      return localStorage.getItem("clsuite-theme");
    } catch {
      return null;
    }
  };
  place.dataset.theme = ["light", "dark"].includes(read()) ? read() : "system";
  addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    select.value = place.dataset.theme;
    select.addEventListener("change", () => {
      place.dataset.theme = select.value;
      try {
        localStorage.setItem("clsuite-theme", select.value);
      } catch {
        // then it holds for this page alone
      }
    });
  });
})();
