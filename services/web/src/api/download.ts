/** A file, handed to the browser by its address: it may be larger than memory.
 *
 * The address is the API's. Where the browser can reach the store, that answers with a redirect to a link that
 * is signed for an hour; the cookie of `POST /auth/session` says who asks.
 */

import { getSession } from "../session"
import { errorOf, Unreachable } from "./problem"

/** Asks first whether the file is there, so that a refusal is told on the page instead of as a broken file.
 * Rejects with ApiError or Unreachable. */
export async function download(path: string): Promise<void> {
  const there = await ask("HEAD", path)
  // An answer to HEAD has no body: why it was refused stands in that to GET.
  if (!there.ok) throw await errorOf(await ask("GET", path))
  const link = document.createElement("a")
  link.href = path
  link.download = ""
  link.click()
}

async function ask(method: "GET" | "HEAD", path: string): Promise<Response> {
  try {
    return await fetch(path, {
      method,
      cache: "no-store",
      headers: { Authorization: `Bearer ${getSession()?.token ?? ""}`, Accept: "application/json" },
    })
  } catch (error) {
    throw new Unreachable(error)
  }
}

export const modelPath = (taskId: string, modelName: string) =>
  `/ml/download-model/${taskId}/${encodeURIComponent(modelName)}`
export const leaderboardPath = (taskId: string) => `/ml/download-leaderboard/${taskId}`
export const allModelsPath = (taskId: string) => `/ml/download-all-models/${taskId}`
export const savedModelPath = (modelId: string) => `/models/${modelId}/download`
