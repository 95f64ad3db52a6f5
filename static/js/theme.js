// Decides light or dark before the first paint where the reader follows the system; runs in <head>, not deferred.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    if (root.dataset.themeChoice === "auto") root.dataset.bsTheme = system.matches ? "dark" : "light";
  };
  system.addEventListener("change", apply);
  apply();
})();
