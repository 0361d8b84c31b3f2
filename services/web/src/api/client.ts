/** The API's client, typed by its OpenAPI schema. Every answer that is not a success is thrown. */

import createClient, { type Middleware } from "openapi-fetch"
import { setSession } from "../session"
import { errorOf, Unreachable } from "./problem"
import { freshSession } from "./renewal"
import type { components, paths } from "./schema"

export type Schemas = components["schemas"]

/** No answer takes longer, long polls included; a stream may. */
const LONGEST_MS = 60_000

const asTheUser: Middleware = {
  async onRequest({ request, options }) {
    const session = await freshSession()
    if (session) request.headers.set("Authorization", `Bearer ${session.token}`)
    if (options.parseAs === "stream") return request
    return new Request(request, {
      signal: AbortSignal.any([request.signal, AbortSignal.timeout(LONGEST_MS)]),
    })
  },
  async onResponse({ response }) {
    if (response.ok || response.status === 304) return undefined
    if (response.status === 401) setSession(null)
    throw await errorOf(response)
  },
  onError({ error }) {
    if (error instanceof DOMException && error.name === "AbortError") return error
    return new Unreachable(error)
  },
}

export const api = createClient<paths>()
api.use(asTheUser)

/** The body of an answer that has one. */
export async function bodyOf<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T
}
