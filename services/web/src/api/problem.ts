/** What the API says when something is wrong: `application/problem+json`, RFC 9457. */

import type { components } from "./schema"

export type Problem = components["schemas"]["Problem"]

export class ApiError extends Error {
  readonly problem: Problem
  /** Seconds, from `Retry-After`. */
  readonly retryAfter: number | undefined

  constructor(problem: Problem, retryAfter?: number) {
    super(problem.detail ?? problem.title)
    this.name = "ApiError"
    this.problem = problem
    this.retryAfter = retryAfter
  }

  get status(): number {
    return this.problem.status
  }

  /** What is wrong with one field of a body: `pointer` as in RFC 6901, "/model_name". */
  fault(pointer: string): string | undefined {
    return this.problem.errors?.find((fault) => fault.pointer === pointer)?.detail
  }
}

/** The request never came to an answer: the network, or the server, is away. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super("Trainyard cannot be reached", { cause })
    this.name = "Unreachable"
  }
}

export async function errorOf(response: Response): Promise<ApiError> {
  const retryAfter = Number(response.headers.get("Retry-After")) || undefined
  const fallback: Problem = {
    type: "about:blank",
    title: response.statusText || `HTTP ${response.status}`,
    status: response.status,
  } as Problem
  try {
    return new ApiError({ ...fallback, ...(await response.json()) }, retryAfter)
  } catch {
    return new ApiError(fallback, retryAfter) // a proxy in between answered, not the API
  }
}
