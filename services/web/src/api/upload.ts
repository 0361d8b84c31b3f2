/** One table, streamed to the API with its progress told: `fetch` cannot tell how much of a body has gone. */

import { getSession, setSession } from "../session"
import type { Schemas } from "./client"
import { ApiError, type Problem, Unreachable } from "./problem"

type File_ = Schemas["File"]

/** `key`: the `Idempotency-Key`; sent again under the same one, after an answer that got lost, a table is not
 * stored twice. `onProgress` is told 0..1. Rejects with ApiError, Unreachable, or an AbortError once `signal`
 * says so. */
export function uploadFile(
  file: File,
  key: string,
  signal: AbortSignal,
  onProgress: (share: number) => void,
): Promise<File_> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open("POST", "/files")
    request.responseType = "json"
    request.setRequestHeader("Authorization", `Bearer ${getSession()?.token ?? ""}`)
    request.setRequestHeader("Idempotency-Key", key)
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total)
    }
    request.onload = () => {
      if (request.status === 401) setSession(null)
      if (request.status === 201) resolve(request.response as File_)
      else
        reject(
          new ApiError(problemOf(request), Number(request.getResponseHeader("Retry-After")) || undefined),
        )
    }
    request.onerror = () => reject(new Unreachable(undefined))
    request.onabort = () => reject(new DOMException("The upload was stopped", "AbortError"))
    signal.addEventListener("abort", () => request.abort())
    const form = new FormData()
    form.set("file", file, file.name)
    request.send(form)
  })
}

function problemOf(request: XMLHttpRequest): Problem {
  const said = request.response as Problem | null
  return (
    said ?? {
      type: "about:blank",
      title: "Upload failed",
      status: request.status,
      detail: "The upload was refused",
    }
  )
}
