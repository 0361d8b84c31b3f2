import { QueryClient, QueryClientProvider } from "@tanstack/react-query"
import { RouterProvider } from "@tanstack/react-router"
import { StrictMode } from "react"
import { createRoot } from "react-dom/client"
import { ApiError } from "./api/problem"
import { keepSignedIn } from "./api/renewal"
import { router } from "./router"
import { getSession, onSession } from "./session"
import "./styles/tokens.css"
import "./styles/base.css"
import { Toasts } from "./ui/toast"

const AWAY = new Set([429, 502, 503, 504])

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What is wrong stays wrong; what is away may be back.
      retry: (failed, error) =>
        error instanceof ApiError ? AWAY.has(error.status) && failed < 4 : failed < 4,
      retryDelay: (failed, error) =>
        error instanceof ApiError && error.retryAfter
          ? error.retryAfter * 1000
          : Math.min(1000 * 2 ** failed, 30_000),
    },
  },
})

// Whoever has signed out, here or in another tab, or whose token has run out, is asked to sign in, and comes
// back to the same page. What one person's was is not there for the next.
let who = getSession()?.user.id
onSession(() => {
  const before = who
  who = getSession()?.user.id
  if (before === undefined || before === who) return
  client.clear()
  router.invalidate()
})

keepSignedIn()

const place = document.getElementById("root")
if (!place) throw new Error("index.html has no #root")
createRoot(place).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <Toasts>
        <RouterProvider router={router} />
      </Toasts>
    </QueryClientProvider>
  </StrictMode>,
)
