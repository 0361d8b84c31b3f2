// Before the first paint, and a file of its own because the page's policy allows no inline scripts.
try {
  const chosen = localStorage.getItem("trainyard.theme")
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen
} catch {
  // storage is not allowed: the system's theme it is
}
