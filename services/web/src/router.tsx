/** Every address there is, and what it holds: what a link is to show again stands in it. */

import {
  createRootRoute,
  createRoute,
  createRouter,
  Link,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router"
import { modelsSearch } from "./models/search"
import { SignInPage } from "./pages/sign-in"
import { blueprintsSearch, datasetSearch, trainSearch } from "./search"
import { getSession } from "./session"
import { Shell } from "./shell"
import { taskSearch } from "./task/search"
import { buttonClass } from "./ui/button"
import { Failed, State } from "./ui/surface"

const root = createRootRoute({
  notFoundComponent: () => (
    <State
      title="There is nothing at this address"
      action={
        <Link to="/dashboard/blueprints" className={buttonClass({})}>
          Go to the datasets
        </Link>
      }
    />
  ),
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

const home = createRoute({
  getParentRoute: () => dashboard,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/dashboard/blueprints", replace: true })
  },
})

const blueprints = createRoute({
  getParentRoute: () => dashboard,
  path: "/blueprints",
  validateSearch: blueprintsSearch,
  component: lazyRouteComponent(() => import("./pages/blueprints"), "BlueprintsPage"),
})

const dataset = createRoute({
  getParentRoute: () => dashboard,
  path: "/blueprints/files/$fileId",
  validateSearch: datasetSearch,
  component: lazyRouteComponent(() => import("./pages/dataset"), "DatasetPage"),
})

const train = createRoute({
  getParentRoute: () => dashboard,
  path: "/blueprints/train",
  validateSearch: trainSearch,
  component: lazyRouteComponent(() => import("./pages/train"), "TrainPage"),
})

const task = createRoute({
  getParentRoute: () => dashboard,
  path: "/blueprints/tasks/$taskId",
  validateSearch: taskSearch,
  component: lazyRouteComponent(() => import("./pages/task"), "TaskPage"),
})

const models = createRoute({
  getParentRoute: () => dashboard,
  path: "/models",
  validateSearch: modelsSearch,
  component: lazyRouteComponent(() => import("./pages/models"), "ModelsPage"),
})

export const router = createRouter({
  routeTree: root.addChildren([
    start,
    signIn,
    dashboard.addChildren([home, blueprints, dataset, train, task, models]),
  ]),
  defaultPreload: "intent",
  // A fault of ours, or a part of an older build that is not there any more: asked for afresh.
  defaultErrorComponent: ({ error }) => <Failed error={error} retry={() => location.reload()} />,
  scrollRestoration: true,
})

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router
  }
}
