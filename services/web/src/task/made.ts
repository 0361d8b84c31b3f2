/** Files that are made when they are first asked for: a ZIP of everything, a model in another format. */

import { api, bodyOf, type Schemas } from "../api/client"
import { ApiError } from "../api/problem"

const LOOK_EVERY_MS = 1_000

interface Made {
  status: "building" | "ready" | "failed"
  error?: string
}

/** It was tried, and came to nothing; the message says why. */
export class NotMade extends Error {}

/** How it is getting on, until it is ready. `ask` has it made where it is not there yet, or was not to be made
 * the last time. Rejects with why there is none. */
async function* made<T extends Made>(look: () => Promise<T>, ask: () => Promise<unknown>): AsyncGenerator<T> {
  let now = await look().catch(nobodyAsked)
  if (!now || now.status === "failed") {
    await ask()
    now = await look()
  }
  while (now.status === "building") {
    yield now
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
    now = await look()
  }
  if (now.status === "failed") throw new NotMade(now.error ?? "The file could not be made")
  yield now
}

function nobodyAsked(error: unknown): undefined {
  if (!(error instanceof ApiError && error.status === 404)) throw error
}

/** Asks for a file, waits for none of it, and has none of it sent. */
const UNSEEN = { header: { Prefer: "wait=0" } }
const AS_LINK = { Accept: "application/json" }

export function packed(taskId: string): AsyncGenerator<Schemas["Bundle"]> {
  const path = { task_id: taskId }
  return made(
    () => bodyOf(api.GET("/ml/bundles/{task_id}", { params: { path } })),
    () => api.GET("/ml/download-all-models/{task_id}", { params: { path, ...UNSEEN }, headers: AS_LINK }),
  )
}

export function converted(
  taskId: string,
  modelName: string,
  format: Schemas["ConversionFormat"],
): AsyncGenerator<Schemas["Conversion"]> {
  const params = { path: { task_id: taskId, model_name: modelName }, query: { format } }
  return made(
    () => bodyOf(api.GET("/ml/conversions/{task_id}/{model_name}", { params })),
    () =>
      api.GET("/ml/download-model/{task_id}/{model_name}", {
        params: { ...params, ...UNSEEN },
        headers: AS_LINK,
      }),
  )
}
