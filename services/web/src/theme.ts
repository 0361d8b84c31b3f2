/** Light, dark, or as the system has it. `public/theme.js` sets it before the first paint. */

export type Theme = "system" | "light" | "dark"

const KEY = "trainyard.theme"

export function getTheme(): Theme {
  const chosen = document.documentElement.dataset.theme
  return chosen === "light" || chosen === "dark" ? chosen : "system"
}

export function setTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
  try {
    if (theme === "system") localStorage.removeItem(KEY)
    else localStorage.setItem(KEY, theme)
  } catch {
    // Storage is not allowed: for as long as this page stays open.
  }
}
