// Before anything is drawn: the theme that was chosen here, so that the page does not flash. "auto" follows the system.
(() => {
  let chosen = "auto";
  try { chosen = localStorage.getItem("aggmaint-theme") || "auto"; } catch { /* storage may be forbidden */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
