/** Every address there is, and what it holds: what a link is to show again stands in it. */

import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router"
import { SignInPage } from "./pages/sign-in"
import { getSession } from "./session"
import { Shell } from "./shell"
import { State } from "./ui/surface"

const root = createRootRoute({
  notFoundComponent: () => <State title="There is nothing at this address" />,
})

const start = createRoute({
  getParentRoute: () => root,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/dashboard/blueprints", replace: true })
  },
})

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  // An address of ours alone: a link must not lead elsewhere after the sign-in.
  validateSearch: ({ next }): { next?: string } =>
    typeof next === "string" && /^\/dashboard(\/|$)/.test(next) ? { next } : {},
  component: SignInPage,
})

const dashboard = createRoute({
  getParentRoute: () => root,
  path: "/dashboard",
  component: Shell,
  beforeLoad: ({ location }) => {
    if (!getSession()) throw redirect({ to: "/sign-in", search: { next: location.href } })
  },
})

const blueprints = createRoute({
  getParentRoute: () => dashboard,
  path: "/blueprints",
  validateSearch: ({ tab }): { tab?: "runs" } => (tab === "runs" ? { tab } : {}),
  component: lazyRouteComponent(() => import("./pages/blueprints"), "BlueprintsPage"),
})

const models = createRoute({
  getParentRoute: () => dashboard,
  path: "/models",
  component: lazyRouteComponent(() => import("./pages/models"), "ModelsPage"),
})

export const router = createRouter({
  routeTree: root.addChildren([start, signIn, dashboard.addChildren([blueprints, models])]),
  defaultPreload: "intent",
  scrollRestoration: true,
})

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router
  }
}
