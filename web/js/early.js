/* SPDX-License-Identifier: Apache-2.0 */
/* Before the first paint: the chosen colours, and whether this is the sign-in page.  Not a module, since those wait for the document. */
(() => {
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("coffer-theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  } catch { /* storage is off: the system's colours */ }
  if (location.pathname === "/signin") root.dataset.view = "signin";
})();
